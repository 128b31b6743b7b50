package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/internal/envoy"
	"github.com/athd/athd/internal/ready"
)

// prepare finds out all that can be known before anything runs.
func (u *upRun) prepare(ctx context.Context, path, program string) (err error) {
	t := u.terminal
	t.LookupEnv = func(name string) (string, bool) {
		u.read = append(u.read, name)
		return u.LookupEnv(name)
	}
	if u.s, err = t.load(path); err != nil {
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
	for _, pair := range u.s.Envoy.TLS { // Envoy calls a file that is not there an incomplete one
		for _, file := range []string{pair.CertFile, pair.KeyFile} {
			if _, err := os.Stat(file); err != nil {
				return fmt.Errorf("envoy.tls of %s: %w\nnext: make a certificate, as athd init says how, or name one that is there", path, err)
			}
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
	if u.envoy, err = envoy.Start(u.program, u.path("envoy.yaml"), u.path("envoy.log"), u.read); err != nil {
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
	log := newLogger(f, u.s.Log, nil)
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
