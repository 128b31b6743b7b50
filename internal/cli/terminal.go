package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// Exit codes, which scripts can trust.
const (
	ExitOK    = 0
	ExitFault = 1 // the server refused, could not be asked, or what was found is not as it should be
	ExitUsage = 2
)

// A Terminal is what a command may read and write.
type Terminal struct {
	Stdout, Stderr io.Writer
	Env            func(string) string
	Stdin          io.Reader
}

// Errors that have been printed already.
var (
	ErrUsage = errors.New("usage")               // the usage was wrong
	ErrFound = errors.New("not as it should be") // it was done, and what it found is a no
)

// Exit prints an error that has not been printed yet, and returns the exit
// code.
func Exit(t Terminal, err error) int {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return ExitOK
	case errors.Is(err, ErrUsage):
		return ExitUsage
	case !errors.Is(err, ErrFound):
		fmt.Fprintf(t.Stderr, "athctl: %v\n", err)
	}
	return ExitFault
}
