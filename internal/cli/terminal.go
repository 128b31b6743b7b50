package cli

import (
	"encoding/json"
	"io"
	"os"
)

// A Terminal is what a command may read and write.
type Terminal struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
}

// OfProcess is the terminal of this process.
func OfProcess() Terminal {
	return Terminal{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv}
}

// Env is an environment variable, "" where it is not set.
func (t Terminal) Env(name string) string {
	value, _ := t.LookupEnv(name)
	return value
}

// JSON prints a value for programs.
func (t Terminal) JSON(v any) error {
	e := json.NewEncoder(t.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
