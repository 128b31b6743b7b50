package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/config"
	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/envoy"
	"github.com/athd/athd/internal/process"
	"github.com/athd/athd/internal/ready"
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
	dir     string // what both write is there
	program string // Envoy
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
	if err := u.prepare(ctx, path, program); err != nil {
		return err
	}
	err := u.start(ctx)
	if err == nil {
		u.tellReady(ctx)
		err = u.wait(ctx)
	}
	if ctx.Err() != nil {
		err = nil // whatever ended then, it was meant to
		u.line("\nstopping: Envoy's calls under way may end, %v at most; then athd", envoy.DrainTimeout)
	}
	stop() // the second signal finds no handler
	return errors.Join(err, u.end())
}

// prepare finds out all that can be known before anything runs.
func (u *upRun) prepare(ctx context.Context, path, program string) (err error) {
	if u.s, err = u.load(path); err != nil {
		return err
	}
	u.s.DrainDelay = 0 // Envoy, which would have to hear of it, ends first
	u.done("%s: %s", path, summary(u.s.Providers))
	printWarnings(u.Stdout, u.s)
	if u.program, err = envoy.Find(program); err != nil {
		return err
	}
	v, err := envoy.Version(ctx, u.program)
	if err != nil {
		return err
	}
	u.done("Envoy %s: %s", v, u.program)
	if v != envoy.Tested {
		u.line("note: athd is tested with Envoy %s; an older one may not take its configuration", envoy.Tested)
	}
	if err := privateDir(u.dir); err != nil {
		return err
	}
	c, err := bootstrapConfig(u.s)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	text, err := bootstrap.Print(c, bootstrap.All)
	if err != nil {
		return err
	}
	if err := output(u.terminal, u.path("envoy.yaml"), text, 0o600); err != nil {
		return err
	}
	for _, x := range []struct{ key, address string }{{"envoy.listen", c.Listen}, {"envoy.admin", c.Admin}} {
		if x.address == "" {
			continue
		}
		err := envoy.FreeToListen(ctx, x.address)
		if errors.Is(err, envoy.ErrTaken) {
			err = fmt.Errorf("%w\nnext: end that program, or write another port to %s of %s%s", err, x.key, path, alsoPublic(x.key))
		}
		if err != nil {
			return fmt.Errorf("Envoy cannot listen at %s (%s): %w", x.address, x.key, err)
		}
	}
	if err := envoy.Validate(ctx, u.program, u.path("envoy.yaml")); err != nil {
		return err
	}
	u.done("Envoy takes %s", u.path("envoy.yaml"))
	return nil
}

// alsoPublic is said where the port is part of public_url.
func alsoPublic(key string) string {
	if key == "envoy.listen" {
		return ", and to its public_url"
	}
	return ""
}

func (u *upRun) path(name string) string { return filepath.Join(u.dir, name) }

// start returns once agents are answered. What it started, end ends.
func (u *upRun) start(ctx context.Context) (err error) {
	for _, log := range []string{"athd.log", "envoy.log"} { // the last run's may say why it ended
		if err := os.Rename(u.path(log), u.path(log+".1")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := u.serve(); err != nil {
		return err
	}
	if u.envoy, err = envoy.Start(u.program, u.path("envoy.yaml"), u.path("envoy.log")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	missing, err := ready.Wait(ctx, func(ctx context.Context) (string, error) {
		if err := u.ended(); err != nil {
			return "", err
		}
		return u.look(ctx), nil
	}, func(missing string) {
		what, _, _ := strings.Cut(missing, ";") // why is not known before it is late
		u.line("waiting, %v at most: %s", upTimeout, what)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("gave up after %v: %s\nnext: see the ends of %s and %s", upTimeout, missing, u.path("athd.log"), u.path("envoy.log"))
	}
	return err
}

// look returns what is missing. A public_url that is elsewhere may lead here
// later: then Envoy itself is asked.
func (u *upRun) look(ctx context.Context) string {
	if u.here() {
		return look(ctx, u.s)
	}
	if missing := lookAtAthd(ctx, u.s); missing != "" || u.s.Envoy.Admin == "" {
		return missing
	}
	at := onThisMachine(u.s.Envoy.Admin)
	if err := ready.Answers(ctx, "http://"+at+"/ready", http.StatusOK); err != nil {
		return fmt.Sprintf("Envoy is not ready (envoy.admin, %s); %v", at, err)
	}
	return ""
}

// here reports whether public_url is this machine.
func (u *upRun) here() bool {
	at, err := url.Parse(u.s.PublicURL)
	return err == nil && ath.IsLoopbackHost(at.Hostname())
}

// serve runs athd in this process: one program less that can be away, and
// nothing to find in PATH. Its log goes to a file.
func (u *upRun) serve() error {
	f, err := os.OpenFile(u.path("athd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	log := newLogger(f, u.s.Log)
	log.Info("runtime", tune(u.LookupEnv, u.s.Runtime)...)
	ctx, stop := context.WithCancel(context.Background())
	u.stop, u.served = stop, make(chan error, 1)
	go func() {
		err := serve(ctx, u.s, log, f, u.noticePending)
		if err != nil {
			log.Error("stopped", "error", err)
		}
		u.served <- err
	}()
	return nil
}

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
		err = envoy.Stop(context.Background(), u.envoy, onThisMachine(u.s.Envoy.Admin))
	}
	if u.stop != nil {
		u.stop()
		<-u.served
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
