// Command athdemo shows athd at work, on real parts: it starts an OAuth
// server and a shop of its own, athd and Envoy as the programs that they are,
// and plays an AI agent and a user's browser before them. Each step is
// one line, with -v also what was sent, what came back, and what the shop saw;
// and each is checked, so that a demo that ends well has proved something.
//
//	athdemo -athd ./athd -envoy /usr/bin/envoy [-keep] [-v]
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
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

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
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command is the whole program but for its process.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && services()[args[0]] != nil {
		return runService(ctx, args[0], args[1:], stdout, stderr)
	}
	var opt options
	flags := flag.NewFlagSet("athdemo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opt.athd, "athd", "athd", "the athd `program`")
	flags.StringVar(&opt.envoy, "envoy", "envoy", "the Envoy `program`")
	flags.BoolVar(&opt.keep, "keep", false, "stay up afterwards, until Ctrl-C")
	flags.BoolVar(&opt.verbose, "v", false, "print every request and reply, and what the shop saw")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "athdemo: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := demo(ctx, opt, stdout); err != nil {
		fmt.Fprintf(stderr, "\nathdemo: %v\n", err)
		return 1
	}
	return 0
}

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
  make demo ARGS=-keep    stays up, with commands to paste
  make demo ARGS=-v       shows every request and reply, and each check
  README.md               athd in front of your own API, or of GitHub`
