package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes, which scripts can trust.
const (
	ExitOK    = 0
	ExitFault = 1 // something failed or was refused, or what was found is not as it should be
	ExitUsage = 2
)

// ErrFound is returned where everything was done and printed, and what was
// found is a no: exit code 1, and nothing more is said.
var ErrFound = errors.New("not as it should be")

// A usageError is a command line that cannot be meant.
type usageError struct {
	text string // "": the command's whole help says it
}

func (e *usageError) Error() string {
	if e.text == "" {
		return "a command is missing"
	}
	return e.text
}

// Wrong says what is wrong with a command line: exit code 2.
func Wrong(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// IsWrong reports whether an error is about the command line.
func IsWrong(err error) bool {
	_, wrong := errors.AsType[*usageError](err)
	return wrong
}

// Lines marks an error whose lines stand for themselves, such as
// "athd.yaml:3: …": the program's name is not put before them.
func Lines(err error) error {
	if err == nil {
		return nil
	}
	return linesError{err}
}

type linesError struct{ error }

func (e linesError) Unwrap() error { return e.error }

// exit prints how a command ended, and returns the exit code.
func exit(c *cobra.Command, err error, t Terminal) int {
	if err == nil {
		return ExitOK
	}
	if wrong, is := errors.AsType[*usageError](err); is {
		if wrong.text == "" {
			printHelp(t.Stderr, c)
		} else {
			fmt.Fprintf(t.Stderr, "%s: %s\nsee %s --help\n", c.CommandPath(), wrong.text, c.CommandPath())
		}
		return ExitUsage
	}
	if !errors.Is(err, ErrFound) {
		text := c.Root().Name() + ": " + err.Error()
		if lines, is := errors.AsType[linesError](err); is {
			text = strings.TrimSuffix(lines.Error(), "\n")
		}
		fmt.Fprintln(t.Stderr, text)
	}
	return ExitFault
}
