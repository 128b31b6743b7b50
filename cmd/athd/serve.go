package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/version"
)

// drainTime is how long calls under way may take to end.
const drainTime = 10 * time.Second

// issuersPatience is how long the start waits for issuers' metadata: whoever is
// not there by then is asked for it beside.
const issuersPatience = time.Second

func newServe(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "serve",
		Short:   "answer Envoy's checks, agents and browsers",
		GroupID: groupRun,
		Example: "  athd serve --config athd.yaml",
	}
	path := cli.ConfigFlag(c)
	c.RunE = func(*cobra.Command, []string) error { return runServe(*path, t) }
	return c
}

// runServe runs athd until SIGTERM or SIGINT. A second signal kills, also while
// athd drains. At SIGHUP the configuration and the keyset are read again at once.
func runServe(path string, t terminal) error {
	started := t.snapshot(path)
	s := started.Settings
	if s == nil {
		return cli.Lines(started.Faults.Err())
	}
	// From here on everything is said by the log, the last words too.
	level := &slog.LevelVar{}
	log := newLogger(t.Stderr, s.Log, level)
	log.Info("runtime", tune(t.LookupEnv, s.Runtime)...)
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	context.AfterFunc(signaled, func() {
		stop() // the second signal finds no handler, from before anybody can see that athd drains
		drain()
	})
	var hangups [2]chan os.Signal
	for i := range hangups {
		hangups[i] = make(chan os.Signal, 1)
		if !signal.Ignored(syscall.SIGHUP) { // nohup
			signal.Notify(hangups[i], syscall.SIGHUP)
			defer signal.Stop(hangups[i])
		}
	}
	if err := serve(ctx, s, log, t.Stderr, func(a *assembly) {
		a.keyset.hangup = hangups[0]
		a.level = level
		a.reload(started, func() config.Snapshot { return t.snapshot(path) }).hangup = hangups[1]
	}); err != nil {
		log.Error("stopped", "error", err)
		return errors.New("stopped by an error")
	}
	log.Info("stopped")
	return nil
}

// serve runs until ctx ends, then drains and returns nil; or until a listener
// dies, and returns why. Events go to where the log goes. adapt, if there is
// one, may change the parts before they serve.
func serve(ctx context.Context, s *config.Settings, log *slog.Logger, events io.Writer, adapt func(*assembly)) error {
	for _, text := range s.Warnings {
		log.Warn(text)
	}
	a, err := assemble(s, log, events)
	if err != nil {
		return err
	}
	defer a.store.Close()
	defer a.trail.Close()
	if adapt != nil {
		adapt(a)
	}
	l, err := openListeners(ctx, s)
	if err != nil {
		return err
	}
	return a.serveListeners(ctx, s, l, log)
}

// serveListeners serves on open listeners, until ctx ends or one of them dies.
func (a *assembly) serveListeners(ctx context.Context, s *config.Settings, l listeners, log *slog.Logger) (err error) {
	web := withTLS(a.asked.Clients, netutil.LimitListener(l.http, s.Connections))
	companion := newHTTPServer(withHealth(a.companion, a.ready), log)
	admin := newHTTPServer(adminHandler(a.ready, a.metrics, a.front.operators), log)

	died := make(chan error, 3)
	var serving sync.WaitGroup
	start := func(name string, listener net.Listener, serve func(net.Listener) error) {
		serving.Go(func() {
			if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
				died <- fmt.Errorf("the %s listener died: %w", name, err)
			}
		})
	}
	keeping, stopKeeping := context.WithCancel(ctx)
	defer stopKeeping()
	a.keyset.begin(ctx) // before anything that seals
	serving.Go(func() { a.issuers.Run(keeping) })
	serving.Go(func() { a.vault.KeepAlive(keeping, a.providers) })
	serving.Go(func() { a.keyset.run(keeping) })
	a.catalog.first(ctx, log)
	serving.Go(func() { a.catalog.Run(keeping) })
	if a.reloader != nil {
		serving.Go(func() { a.reloader.run(keeping) })
	}
	looking, looked := context.WithTimeout(ctx, issuersPatience)
	a.issuers.Tried(looking)
	looked()
	start("grpc", l.grpc, func(l net.Listener) error {
		if err := a.asked.Serve(l); err != nil {
			return err
		}
		return http.ErrServerClosed
	})
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	serving.Go(func() { a.streams.Run(watching) })
	a.revoker.Start()
	start("http", web, companion.Serve)
	start("admin", l.admin, admin.Serve)
	a.ready.grpc.Store(true)
	a.ready.http.Store(true)
	a.asked.SetReady(true)
	running := version.Current()
	log.Info("serving", "grpc", where(l.grpc), "http", where(l.http), "admin", where(l.admin),
		"version", running.Version, "revision", running.Revision, "providers", summary(s.Providers))
	a.firstLook(ctx, log)
	watch := a.store.Watch()
	defer watch.Close()
	counting, stopCounting := context.WithCancel(ctx)
	defer stopCounting()
	serving.Go(func() { countChanges(counting, watch, a.metrics, log) })

	select {
	case <-ctx.Done():
		log.Info("draining", "for", a.settings(s).DrainDelay.String(), "hint", "health checks fail, requests are still answered")
	case err = <-died:
	}
	// Readiness goes first, so that nobody is sent here any more; the admin
	// listener goes last, so that this can be seen. In between, whoever has not
	// heard of it yet is answered as before.
	a.ready.draining.Store(true)
	a.asked.SetReady(false)
	if err == nil {
		select {
		case <-time.After(a.settings(s).DrainDelay):
		case err = <-died:
		}
	}
	log.Info("stopping", "at_most", drainTime.String(), "hint", "requests in flight may end, new ones are not taken")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var draining sync.WaitGroup
	draining.Go(func() { a.asked.Shutdown(drain) }) // which ends streams once Envoy was told
	draining.Go(func() { shutdown(drain, companion) })
	draining.Wait()
	a.revoker.Close(drain)
	a.vault.Close(drain) // a refresh that has begun ends, and what it brought is stored
	shutdown(drain, admin)
	stopCounting()
	stopKeeping()
	stopWatching()
	serving.Wait()
	return err
}

// shutdown lets the server's requests end, and cuts off what is left when ctx
// ends.
func shutdown(ctx context.Context, s *http.Server) {
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
}

// listeners are open before anything serves, so that a taken port stops the
// start and not the running process.
type listeners struct{ grpc, http, admin net.Listener }

func openListeners(ctx context.Context, s *config.Settings) (l listeners, err error) {
	var open []net.Listener
	for _, x := range []struct {
		name string
		at   config.Address
		to   *net.Listener
	}{{"grpc", s.GRPC, &l.grpc}, {"http", s.HTTP, &l.http}, {"admin", s.Admin, &l.admin}} {
		if *x.to, err = listen(ctx, x.at); err != nil {
			for _, o := range open {
				o.Close()
			}
			return listeners{}, fmt.Errorf("listen.%s: %w", x.name, err)
		}
		open = append(open, *x.to)
	}
	return l, nil
}
