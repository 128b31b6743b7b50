package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

// services are the demo's parts as programs of their own, for where each is a
// container: athdemo oauth -listen …
func services() map[string]func(context.Context, *service) error {
	return map[string]func(context.Context, *service) error{
		"oauth":   serveOAuth,
		"shop":    serveShop,
		"secrets": makeSecrets,
		"ready":   tellReady,
		"health":  askHealth,
	}
}

// A service is one part's flags and where it may write.
type service struct {
	*flag.FlagSet
	args           []string
	stdout, stderr io.Writer
}

var errServiceUsage = errors.New("wrong usage")

// runService runs the part of this name. It returns the exit code.
func runService(ctx context.Context, name string, args []string, stdout, stderr io.Writer) int {
	s := &service{flag.NewFlagSet("athdemo "+name, flag.ContinueOnError), args, stdout, stderr}
	s.SetOutput(stderr)
	switch err := services()[name](ctx, s); {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errServiceUsage):
		return 2
	default:
		fmt.Fprintf(stderr, "athdemo %s: %v\n", name, err)
		return 1
	}
}

// parse reads the flags, each of which must be said if it is among wanted.
func (s *service) parse(wanted ...string) error {
	if err := s.Parse(s.args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errServiceUsage // the flag set has printed it
	}
	for _, name := range wanted {
		if s.Lookup(name).Value.String() == "" {
			fmt.Fprintf(s.stderr, "%s: -%s is missing\n", s.Name(), name)
			return errServiceUsage
		}
	}
	if s.NArg() > 0 {
		fmt.Fprintf(s.stderr, "%s: unexpected argument %q\n", s.Name(), s.Arg(0))
		return errServiceUsage
	}
	return nil
}

// maxSecretBytes bounds a file that holds one secret.
const maxSecretBytes = 4 << 10

// secretOf reads a file with one secret on one line.
func secretOf(path string) (ath.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return ath.Secret{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return ath.Secret{}, err
	}
	line := strings.TrimSpace(string(text))
	if line == "" || len(text) > maxSecretBytes {
		return ath.Secret{}, fmt.Errorf("%s holds no secret", path)
	}
	return ath.NewSecret(line), nil
}

const (
	serveDrain     = 5 * time.Second
	maxHeaderBytes = 32 << 10
)

// serveUntil serves until ctx ends, and lets the calls under way end.
func (s *service) serveUntil(ctx context.Context, address string, h http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeaderBytes,
	}
	fmt.Fprintf(s.stdout, "%s: serving on %s\n", s.Name(), listener.Addr())
	died := make(chan error, 1)
	go func() { died <- server.Serve(listener) }()
	select {
	case err := <-died:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveDrain)
	defer cancel()
	if server.Shutdown(drain) != nil {
		return server.Close() // a stream that never ends is cut off
	}
	return nil
}
