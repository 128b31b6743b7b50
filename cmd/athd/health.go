package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
)

const (
	healthTimeout  = 3 * time.Second // longer than the store may take to answer
	maxHealthBytes = 64 << 10
)

func newHealth(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "health",
		Short:   "ask a running athd whether it is ready",
		GroupID: groupRun,
		Example: `  athd health
  athd health --admin unix:/run/athd/admin.sock`,
	}
	at := c.Flags().String("admin", config.DefaultAdmin, "listen.admin of the athd to ask: `host:port` or unix:/path")
	c.RunE = func(c *cobra.Command, _ []string) error {
		a, err := config.ParseAddress(*at)
		if err != nil {
			return cli.Wrong("--admin: %v", err)
		}
		return runHealth(c.Context(), a, t)
	}
	return c
}

// runHealth asks a running athd whether it is ready, for the health checks of
// containers that hold nothing but athd. It reads no configuration: what an
// operator is editing must not make a good process look ill.
func runHealth(ctx context.Context, a config.Address, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	status, err := askReady(ctx, a.Dialable())
	if err != nil {
		return err
	}
	if status != "ready" {
		return errors.New(status)
	}
	fmt.Fprintln(t.Stdout, status)
	return nil
}

// askReady returns what /readyz at the address says: ready, or what is not.
func askReady(ctx context.Context, a config.Address) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, a.Network, a.At)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://athd/readyz", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var r report
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxHealthBytes)).Decode(&r); err != nil {
		return "", fmt.Errorf("what answers at %s is not athd: %w", a, err)
	}
	if resp.StatusCode == http.StatusOK && r.Status == "ready" {
		return r.Status, nil
	}
	return notReady(r), nil
}

// notReady names what keeps athd from being ready.
func notReady(r report) string {
	out := "not ready"
	if r.Status == "draining" {
		out = r.Status
	}
	for _, name := range []string{"store", "grpc", "http"} {
		switch c := r.Checks[name]; {
		case c.OK:
		case c.Error != "":
			out += "; " + c.Error
		default:
			out += "; " + name + " does not serve"
		}
	}
	return out
}
