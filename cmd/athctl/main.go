package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes, which scripts can trust.
const (
	exitOK    = 0
	exitFault = 1 // the server refused, could not be asked, or what was found is not as it should be
	exitUsage = 2
)

const usage = `athctl is the operator's command line of athd.

usage:
  athctl agents list    [-status pending|approved|denied|suspended]
  athctl agents show    CLIENT_ID
  athctl agents approve CLIENT_ID [-scope PROVIDER/SCOPE]... [-expires 90d]
  athctl agents deny    CLIENT_ID [-scope PROVIDER/SCOPE]... [-reason TEXT]
  athctl agents suspend CLIENT_ID | -host HOST
  athctl agents resume  CLIENT_ID | -host HOST
  athctl agents hosts
  athctl agents remove  CLIENT_ID
  athctl explain [-token ATH_TOKEN | -token-stdin] [-agent AGENT_ID] [-check] METHOD URL
  athctl scopes  [PRESET]
  athctl scopes  -server URL [PROVIDER]
  athctl verify-envoy -envoy URL | -dump FILE [-authz ADDRESS] [-strict]

Without -scope, approve and deny are about all that is under review. With -host,
suspend is about all agents of agents.example.com, or with '*.example.com' of
all hosts below that name, those to come as well; hosts lists what is suspended.

explain tells how a call would be judged, and why. Nobody makes the call.
scopes prints what each scope opens: of a preset, from athctl itself; or, with
-server, of a provider by which a running athd judges.
verify-envoy reads what a running Envoy is configured with, and reports every
way in which that differs from what athd needs.

athctl agent COMMAND tries a running athd out as an agent; athctl agent -h.

commands of operators that ask a running athd take:
  -server URL         athd's public URL; or ATHCTL_SERVER
  -token-file FILE    an admin token, of athd's admin.tokens; or ATHCTL_TOKEN_FILE
  -o text|json        for people, or for programs
  -allow-http         sends the token without TLS to a host that is not this one
`

// A terminal is what a command may read and write.
type terminal struct {
	stdout, stderr io.Writer
	env            func(string) string
	stdin          io.Reader
}

// Errors that have been told already.
var (
	errUsage = errors.New("usage")               // the usage was wrong
	errFound = errors.New("not as it should be") // it was done, and what it found is a no
)

// commands are athctl's, by their names.
func commands() map[string]func(context.Context, []string, terminal) error {
	return map[string]func(context.Context, []string, terminal) error{
		"agent":        runAgent,
		"agents":       runAgents,
		"scopes":       runScopes,
		"explain":      runExplain,
		"verify-envoy": runVerify,
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], terminal{os.Stdout, os.Stderr, os.Getenv, os.Stdin}))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(ctx context.Context, args []string, t terminal) int {
	if len(args) > 0 && (args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		fmt.Fprint(t.stdout, usage)
		return exitOK
	}
	if len(args) == 0 {
		fmt.Fprint(t.stderr, usage)
		return exitUsage
	}
	command, known := commands()[args[0]]
	if !known {
		fmt.Fprintf(t.stderr, "athctl: no such command: %q\n\n%s", args[0], usage)
		return exitUsage
	}
	err := command(ctx, args[1:], t)
	refused := (*refusal)(nil)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errFound):
	case errors.As(err, &refused):
		fmt.Fprintf(t.stderr, "athctl: %v\nnext: %s\n", refused, refused.next(args[0]))
	default:
		fmt.Fprintf(t.stderr, "athctl: %v\n", err)
	}
	return exitFault
}
