package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/athd/athd/config"
)

// Exit codes.
const (
	exitOK    = 0
	exitFault = 1 // the configuration is wrong, or something failed
	exitUsage = 2
)

const usage = `athd lets AI agents call APIs behind Envoy with ATH tokens.

usage:
  athd serve     [-config athd.yaml]           run
  athd validate  [-config athd.yaml]           check the configuration, tell every fault
  athd bootstrap [-config athd.yaml]           print Envoy's configuration
  athd keys new  -o keyset.json                make the keys that seal the store
  athd health    [-admin 127.0.0.1:9002]       ask a running athd whether it is ready
  athd wait      [-config athd.yaml]           wait until athd and Envoy answer, 20 s at most
  athd version
`

// A terminal is what a command may read and write.
type terminal struct {
	stdout, stderr io.Writer
	env            func(string) (string, bool)
}

// load reads a configuration and all that it refers to.
func (t terminal) load(path string) (*config.Settings, error) {
	s, faults := config.Load(path, config.Sources{Env: t.env, ReadFile: config.ReadFile})
	return s, faults.Err()
}

// errUsage is returned by commands whose usage was wrong and has been told.
var errUsage = errors.New("usage")

func main() {
	os.Exit(run(os.Args[1:], terminal{os.Stdout, os.Stderr, os.LookupEnv}))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(args []string, t terminal) int {
	commands := map[string]func([]string, terminal) error{
		"serve":     runServe,
		"validate":  runValidate,
		"bootstrap": runBootstrap,
		"keys":      runKeys,
		"health":    runHealth,
		"wait":      runWait,
		"version":   runVersion,
	}
	if len(args) == 0 {
		fmt.Fprint(t.stderr, usage)
		return exitUsage
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		fmt.Fprint(t.stdout, usage)
		return exitOK
	}
	command, known := commands[args[0]]
	if !known {
		fmt.Fprintf(t.stderr, "athd: no such command: %q\n\n%s", args[0], usage)
		return exitUsage
	}
	err := command(args[1:], t)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	}
	fmt.Fprintln(t.stderr, err)
	return exitFault
}

// A flags is the flag set of one command: no arguments beside flags, and the
// usage's own exit code.
type flags struct {
	*flag.FlagSet
	terminal
}

func newFlags(command string, t terminal) *flags {
	f := &flags{flag.NewFlagSet("athd "+command, flag.ContinueOnError), t}
	f.SetOutput(t.stderr)
	return f
}

func (f *flags) config() *string {
	return f.String("config", "athd.yaml", "the configuration `file`")
}

func (f *flags) parse(args []string) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage // the flag set has told it
	}
	if f.NArg() > 0 {
		return f.wrong("unexpected argument %q", f.Arg(0))
	}
	return nil
}

// wrong tells what is wrong with the usage.
func (f *flags) wrong(format string, args ...any) error {
	fmt.Fprintf(f.stderr, "%s: %s\n", f.Name(), fmt.Sprintf(format, args...))
	f.Usage()
	return errUsage
}
