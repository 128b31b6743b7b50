// Command athdemo shows athd at work, on real parts: it starts an OAuth
// server and a shop of its own, athd and Envoy as the programs that they are,
// and plays an AI agent and a user's browser before them. Each step is
// one line, with -v also what was sent, what came back, and what the shop saw;
// and each is checked, so that a demo that ends well has proved something.
//
//	athdemo --athd ./athd --envoy /usr/bin/envoy [--keep] [-v]
//
// Its parts also run alone, each in a container of its own; docker-compose.yaml
// says with which flags:
//
//	athdemo oauth | shop | secrets | ready | health
//
// It exits 0 when everything was as expected, 1 when something was not, 2 on
// wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/transcript"
)

// walkTimeout bounds the whole walk, from the first process to the last call.
const walkTimeout = time.Minute

type options struct {
	athd, envoy string
	keep        bool
	verbose     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], cli.OfProcess()))
}

// command is the whole program but for its process. It returns the exit code.
func command(ctx context.Context, args []string, t cli.Terminal) int {
	return cli.Run(ctx, newRoot(t), args, t)
}

// newRoot is the demo itself, and below it its parts.
func newRoot(t cli.Terminal) *cobra.Command {
	var opt options
	c := &cobra.Command{
		Use:   "athdemo",
		Short: "watch an agent register, a user consent and an API answer",
		Long: `athdemo shows athd at work, on real parts: it starts an OAuth server and a shop
of its own, athd and Envoy as the programs that they are, and plays an AI agent
and a user's browser before them. Each step is checked.`,
		Example: "  athdemo --athd ./athd --envoy /usr/bin/envoy --keep",
		Args:    cli.NoArgs,
	}
	c.Flags().StringVar(&opt.athd, "athd", "athd", "the athd `program`")
	c.Flags().StringVar(&opt.envoy, "envoy", "envoy", "the Envoy `program`")
	c.Flags().BoolVar(&opt.keep, "keep", false, "stay up afterwards, until Ctrl-C")
	c.Flags().BoolVarP(&opt.verbose, "verbose", "v", false, "print every request and reply, and what the shop saw")
	c.RunE = func(c *cobra.Command, _ []string) error { return demo(c.Context(), opt, t.Stdout) }
	c.AddGroup(
		&cobra.Group{ID: groupParts, Title: "its parts alone, each for a container of its own"},
		&cobra.Group{ID: groupMore, Title: "more"},
	)
	c.AddCommand(newOAuth(t), newShop(t), newSecrets(t), newReady(t), newHealth(t))
	return c
}

// Groups of commands, in the order in which the help lists them.
const (
	groupParts = "parts"
	groupMore  = "more"
)

// demo sets the stage, walks the walk, and clears the stage again.
func demo(ctx context.Context, opt options, stdout io.Writer) (err error) {
	out := &transcript.Transcript{W: stdout, Verbose: opt.verbose}
	started := time.Now()
	setUp, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	s, err := newStage(setUp, opt, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	w, err := newWalk(s, out)
	if err != nil {
		return err
	}
	defer w.close()
	err = w.run(setUp)
	if failed := out.Failures(); len(failed) > 0 {
		err = errors.Join(fmt.Errorf("not as expected:\n%s", strings.Join(failed, "\n")), err)
	}
	if err != nil {
		return errors.Join(err, s.lastWords())
	}
	out.Line("\nAll %d checks held, in %v.", out.Checks, time.Since(started).Round(10*time.Millisecond))
	if !opt.keep {
		out.Line("%s", whatNext)
		return nil
	}
	if err := w.handOver(setUp); err != nil {
		return errors.Join(err, s.lastWords())
	}
	select {
	case <-ctx.Done():
		out.Line("\nStopping.")
		return nil
	case p := <-s.exits:
		return fmt.Errorf("%s ended: %w", p.Name, errors.Join(p.Err(), s.lastWords()))
	}
}

const whatNext = `
What to try next
  make demo ARGS=--keep   stays up, with commands to paste: one adds a provider (athctl providers add)
  make demo ARGS=-v       shows every request and reply, and each check
  README.md               athd in front of your own API, or of GitHub`
