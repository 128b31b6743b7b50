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
	exitFault = 1 // the server refused, or could not be asked
	exitUsage = 2
)

const usage = `athctl is the operator's command line of athd.

usage:
  athctl agents list    [-status pending|approved|denied|suspended]
  athctl agents show    CLIENT_ID
  athctl agents approve CLIENT_ID [-scope PROVIDER/SCOPE]... [-expires 90d]
  athctl agents deny    CLIENT_ID [-scope PROVIDER/SCOPE]... [-reason TEXT]
  athctl agents suspend CLIENT_ID
  athctl agents resume  CLIENT_ID
  athctl agents remove  CLIENT_ID

Without -scope, approve and deny are about all that is under review.

every command takes:
  -server URL         athd's public URL; or ATHCTL_SERVER
  -token-file FILE    an admin token, of athd's admin.tokens; or ATHCTL_TOKEN_FILE
  -o text|json        for people, or for programs
  -allow-http         sends the token without TLS to a host that is not this one
`

// A terminal is what a command may read and write.
type terminal struct {
	stdout, stderr io.Writer
	env            func(string) string
}

// errUsage is returned by commands whose usage was wrong and has been told.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], terminal{os.Stdout, os.Stderr, os.Getenv}))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(ctx context.Context, args []string, t terminal) int {
	if len(args) > 0 && (args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		fmt.Fprint(t.stdout, usage)
		return exitOK
	}
	if len(args) == 0 || args[0] != "agents" {
		fmt.Fprint(t.stderr, usage)
		return exitUsage
	}
	err := runAgents(ctx, args[1:], t)
	refused := (*refusal)(nil)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &refused):
		fmt.Fprintf(t.stderr, "athctl: %v\nnext: %s\n", refused, refused.next())
	default:
		fmt.Fprintf(t.stderr, "athctl: %v\n", err)
	}
	return exitFault
}
