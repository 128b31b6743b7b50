package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/probe"
)

const healthTimeout = 3 * time.Second // longer than the store may take to answer

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
	a = a.Dialable()
	r, err := probe.Ready(ctx, a.Network, a.At)
	if err != nil {
		return err
	}
	if missing := r.Missing(); missing != "" {
		return errors.New(missing)
	}
	fmt.Fprintln(t.Stdout, r.Status)
	return nil
}
