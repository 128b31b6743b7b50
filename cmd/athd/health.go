package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/athd/athd/config"
)

const (
	healthTimeout  = 3 * time.Second // longer than the store may take to answer
	maxHealthBytes = 64 << 10
)

// runHealth asks a running athd whether it is ready, for the health checks of
// containers that hold nothing but athd. It reads no configuration: what an
// operator is editing must not make a good process look ill.
func runHealth(args []string, t terminal) error {
	f := newFlags("health", t)
	at := f.String("admin", config.DefaultAdmin, "listen.admin of the athd to ask: host:port or unix:/path")
	if err := f.parse(args); err != nil {
		return err
	}
	a, err := config.ParseAddress(*at)
	if err != nil {
		return f.wrong("-admin: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	status, err := askReady(ctx, a.Dialable())
	if err != nil {
		return fmt.Errorf("athd health: %w", err)
	}
	if status != "ready" {
		return fmt.Errorf("athd health: %s", status)
	}
	fmt.Fprintln(t.stdout, status)
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
