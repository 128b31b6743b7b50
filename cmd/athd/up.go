package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/envoy"
	"github.com/athd/athd/internal/process"
)

const (
	// upTimeout is how long both may take until agents are answered.
	upTimeout = 30 * time.Second
	// signalPause is how long Ctrl-C may take to be heard here after Envoy heard
	// it: both get it, and Envoy's end may be seen first.
	signalPause = 500 * time.Millisecond
)

func newUp(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "up",
		Short: "run athd and an Envoy in front of it, until Ctrl-C",
		Long: `Runs athd as serve does, and beside it an Envoy with the configuration that
bootstrap prints, in one process group: for trying out, and for a single host
whose service manager restarts it. When one ends the other ends, and nothing is
started again. What both write is in .athd beside athd.yaml, which only you can
read: athd.log, envoy.log, envoy.yaml.

In production Envoy and athd have a life of their own each: athd serve, and
Envoy with athd bootstrap (a container each), so that both can be drained,
upgraded and counted alone.

Envoy is the program that --envoy names, or ATHD_ENVOY, or envoy in PATH.`,
		GroupID: groupRun,
		Example: `  athd up
  athd up --config athd.yaml --envoy /opt/envoy/bin/envoy`,
	}
	path := cli.ConfigFlag(c)
	program := c.Flags().String("envoy", t.Env("ATHD_ENVOY"), "the Envoy `program`; or ATHD_ENVOY; else envoy of PATH")
	c.RunE = func(*cobra.Command, []string) error { return runUp(*path, *program, t) }
	return c
}

// An upRun is one run of up: both programs, and what is said of them.
type upRun struct {
	terminal
	s       *config.Settings
	dir     string   // what both write is there
	program string   // Envoy
	read    []string // names of the variables that the configuration is made of
	last    time.Time
	began   time.Time

	served chan error // how athd ended
	stop   context.CancelFunc
	envoy  *process.Process
}

// runUp runs both until a signal, or until one of them ends.
func runUp(path, program string, t terminal) error {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	now := time.Now()
	u := &upRun{terminal: t, began: now, last: now, dir: filepath.Join(filepath.Dir(path), starter.PrivateDir)}
	if err := u.prepare(ctx, path, program); ctx.Err() != nil {
		u.line("\nstopped before anything was started")
		return nil
	} else if err != nil {
		return err
	}
	err := u.start(ctx)
	if err == nil {
		u.tellReady(ctx)
		err = u.wait(ctx)
	}
	if ctx.Err() != nil {
		err = nil // whatever ended then, it was meant to
		u.line("\nstopping: Envoy, whose calls under way may end for %v unless it got the signal too, as on Ctrl-C; then athd", envoy.DrainTimeout)
	}
	stop() // the second signal finds no handler
	return errors.Join(err, u.end())
}

func (u *upRun) path(name string) string { return filepath.Join(u.dir, name) }

// ended is why one of both has ended, or nil.
func (u *upRun) ended() error {
	select {
	case err := <-u.served:
		u.served <- err // end reads it again
		return u.ofAthd(err)
	case <-u.envoy.Done():
		return u.ofEnvoy()
	default:
		return nil
	}
}

func (u *upRun) ofAthd(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("athd cannot listen: %w\nnext: end the program that listens there, or write another address to that key", err)
	}
	return fmt.Errorf("athd ended: %w", err)
}

func (u *upRun) ofEnvoy() error {
	return fmt.Errorf("Envoy ended (%w): %s\nnext: see %s", u.envoy.Err(), envoy.LastWords(u.envoy), u.envoy.Log)
}

// wait returns nil for a signal, or why one of both ended.
func (u *upRun) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-u.served:
		u.served <- err
		return u.ofAthd(err)
	case <-u.envoy.Done():
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(signalPause):
			return u.ofEnvoy()
		}
	}
}

// end ends what runs, in the order in which a request passes it.
func (u *upRun) end() error {
	var err error
	if u.envoy != nil {
		var drained bool
		if drained, err = envoy.Stop(context.Background(), u.envoy, onThisMachine(u.s.Envoy.Admin)); !drained {
			u.line("calls that were still under way, if any, were cut off with Envoy's end")
		}
	}
	if u.stop != nil {
		u.stop()
		<-u.served //nolint:errcheck // wait has said how it ended
	}
	if err == nil && u.envoy != nil {
		u.line("both have ended")
	}
	return err
}

// line says something; done says it with the time that it took.
func (u *upRun) line(format string, args ...any) { fmt.Fprintf(u.Stdout, format+"\n", args...) }

func (u *upRun) done(format string, args ...any) {
	now := time.Now()
	u.line("%s (%.2f s)", fmt.Sprintf(format, args...), now.Sub(u.last).Seconds())
	u.last = now
}

// onThisMachine is an address to connect to, of one to listen at; "" of "".
func onThisMachine(address string) string {
	if address == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip != nil && !ip.IsUnspecified() || ip == nil && host != "" {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}
