package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/agentcli"
	"github.com/athd/athd/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], cli.OfProcess()))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(ctx context.Context, args []string, t cli.Terminal) int {
	return cli.Run(ctx, newRoot(t), args, t)
}

// Groups of commands, in the order in which the help lists them.
const (
	groupAgents = "agents"
	groupChecks = "checks"
	groupTry    = "try"
	groupMore   = "more"
)

// newRoot is the whole command line.
func newRoot(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "athctl",
		Short: "the operator's command line of athd",
		Long: `athctl is the operator's command line of athd.

What asks a running athd takes its URL and the file of an admin token from
--server and --token-file, or from ATHCTL_SERVER and ATHCTL_TOKEN_FILE.`,
		Example: `  export ATHCTL_SERVER=https://gateway.example.com ATHCTL_TOKEN_FILE=admin.token
  athctl agents list --status pending
  athctl explain GET /ath/proxy/github/user
  athctl try run --provider github --call 'GET /user'`,
	}
	c.AddGroup(
		&cobra.Group{ID: groupAgents, Title: "decide about agents"},
		&cobra.Group{ID: groupChecks, Title: "look and check"},
		&cobra.Group{ID: groupTry, Title: "try a server out"},
		&cobra.Group{ID: groupMore, Title: "more"},
	)
	try := agentcli.New(t)
	try.GroupID = groupTry
	// The old name, which differed by a letter from that of operators' commands.
	try.Aliases = []string{"agent"}
	c.AddCommand(newAgents(t), newConnections(t), newUsers(t), newStreams(t), newScopes(t), newExplain(t), newProviders(t), newDoctor(t), newVerify(t), newRefusals(t), newWhoAmI(t), try)
	return c
}
