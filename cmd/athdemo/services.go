package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/cli"
)

// A service is one of the demo's parts as a program of its own, for where each
// is a container: athdemo oauth --listen …
type service struct {
	*cobra.Command
	cli.Terminal
}

func newService(t cli.Terminal, c *cobra.Command) *service {
	c.GroupID, c.Args = groupParts, cli.NoArgs
	return &service{c, t}
}

// runs runs the part, once each of the flags wanted has been said.
func (s *service) runs(run func(context.Context) error, wanted ...string) *cobra.Command {
	s.RunE = func(c *cobra.Command, _ []string) error {
		for _, name := range wanted {
			if c.Flags().Lookup(name).Value.String() == "" {
				return cli.Wrong("--%s is missing", name)
			}
		}
		return run(c.Context())
	}
	return s.Command
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
	fmt.Fprintf(s.Stdout, "%s: serving on %s\n", s.CommandPath(), listener.Addr())
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
