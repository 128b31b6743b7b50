package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
)

// A terminal is what a command may read and write.
type terminal struct{ cli.Terminal }

// load reads a configuration and all that it refers to.
func (t terminal) load(path string) (*config.Settings, error) {
	s := t.snapshot(path)
	return s.Settings, cli.Lines(s.Faults.Err())
}

// snapshot is load for who follows the files afterwards.
func (t terminal) snapshot(path string) config.Snapshot {
	return config.TakeSnapshot(path, config.Sources{Env: t.LookupEnv, ReadFile: config.ReadFile})
}

func main() {
	os.Exit(run(os.Args[1:], terminal{cli.OfProcess()}))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(args []string, t terminal) int {
	return cli.Run(context.Background(), newRoot(t), args, t.Terminal)
}

// Groups of commands, in the order in which the help lists them.
const (
	groupConfigure = "configure"
	groupRun       = "run"
	groupMore      = "more"
)

// newRoot is the whole command line.
func newRoot(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "athd",
		Short: "lets AI agents call APIs behind Envoy with ATH tokens",
		Example: `  athd init --issuer https://login.example.com --upstream http://127.0.0.1:3000
  athd up

  athd keys new -o keyset.json
  athd validate --config athd.yaml
  athd bootstrap --config athd.yaml -o envoy.yaml
  athd serve --config athd.yaml`,
	}
	c.AddGroup(
		&cobra.Group{ID: groupConfigure, Title: "configure"},
		&cobra.Group{ID: groupRun, Title: "run"},
		&cobra.Group{ID: groupMore, Title: "more"},
	)
	c.AddCommand(newInit(t), newKeys(t), newValidate(t), newBootstrap(t), newSchema(t), newUp(t), newServe(t), newWait(t), newHealth(t))
	return c
}
