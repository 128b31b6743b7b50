package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/athd/athd/internal/agentcli"
	"github.com/athd/athd/internal/cli"
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

explain shows how a call would be judged, and why. Nobody makes the call.
scopes prints what each scope opens: of a preset, from athctl itself; or, with
-server, of a provider by which a running athd judges.
verify-envoy reads what a running Envoy is configured with, and reports every
way in which that differs from what athd needs.

athctl try COMMAND tries a running athd out as an agent; athctl try -h.

commands of operators that ask a running athd take:
  -server URL         athd's public URL; or ATHCTL_SERVER
  -token-file FILE    an admin token, of athd's admin.tokens; or ATHCTL_TOKEN_FILE
  -o text|json        for people, or for programs
  -allow-http         sends the token without TLS to a host that is not this one
`

// commands are athctl's, by their names.
func commands() map[string]func(context.Context, []string, cli.Terminal) error {
	return map[string]func(context.Context, []string, cli.Terminal) error{
		"try":          agentcli.Run,
		"agent":        runAgent,
		"agents":       runAgents,
		"scopes":       runScopes,
		"explain":      runExplain,
		"verify-envoy": runVerify,
	}
}

// runAgent is the old name of athctl try, which differed by a letter from that
// of operators' commands.
func runAgent(ctx context.Context, args []string, t cli.Terminal) error {
	fmt.Fprintln(t.Stderr, `athctl: warning: "athctl agent" is now "athctl try"; the old name will be removed`)
	return agentcli.Run(ctx, args, t)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], cli.Terminal{Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv, Stdin: os.Stdin}))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(ctx context.Context, args []string, t cli.Terminal) int {
	if len(args) > 0 && (args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		fmt.Fprint(t.Stdout, usage)
		return cli.ExitOK
	}
	if len(args) == 0 {
		fmt.Fprint(t.Stderr, usage)
		return cli.ExitUsage
	}
	command, known := commands()[args[0]]
	if !known {
		fmt.Fprintf(t.Stderr, "athctl: no such command: %q\n\n%s", args[0], usage)
		return cli.ExitUsage
	}
	err := command(ctx, args[1:], t)
	if refused, ok := errors.AsType[*refusal](err); ok {
		err = fmt.Errorf("%w\nnext: %s", refused, refused.next(args[0]))
	}
	return cli.Exit(t, err)
}
