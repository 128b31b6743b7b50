package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/probe"
	"github.com/athd/athd/internal/ready"
)

const (
	defaultWait = 20 * time.Second
	lookTimeout = 3 * time.Second
)

func newWait(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "wait",
		Short:   "wait until athd and Envoy answer",
		GroupID: groupRun,
		Example: "  athd wait --config athd.yaml --for 1m",
	}
	path := cli.ConfigFlag(c)
	atMost := c.Flags().Duration("for", defaultWait, "how long to wait before it fails")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *atMost <= 0 {
			return cli.Wrong("--for: want a duration above zero")
		}
		return runWait(c.Context(), *path, *atMost, t)
	}
	return c
}

// runWait waits until agents are answered: until athd is ready and public_url
// leads to it. It tells what it waits for, each time that this changes, and
// gives up in the end.
func runWait(ctx context.Context, path string, atMost time.Duration, t terminal) error {
	s, err := t.load(path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	missing, err := ready.Wait(ctx, func(ctx context.Context) (string, error) { return look(ctx, s), nil }, func(missing string) { fmt.Fprintf(t.Stderr, "waiting, %v at most: %s\n", atMost, missing) })
	if err != nil {
		return fmt.Errorf("gave up after %v: %s", atMost, missing)
	}
	fmt.Fprintf(t.Stdout, "ready: %s leads to athd\n", s.PublicURL)
	return nil
}

// look returns what is missing now, and where to look for its cause, or "".
func look(ctx context.Context, s *config.Settings) string {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if missing := lookAtAthd(ctx, s); missing != "" {
		return missing
	}
	return probe.Gateway(ctx, s.PublicURL).Missing
}

// lookAtAthd asks athd whether it is ready.
func lookAtAthd(ctx context.Context, s *config.Settings) string {
	if s.Admin.AnyPort() {
		return ""
	}
	a := s.Admin.Dialable()
	r, err := probe.Ready(ctx, a.Network, a.At)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT):
		return fmt.Sprintf("athd does not listen at %s (listen.admin); did it start? See what athd serve wrote, such as athd.log", a)
	case err != nil:
		return fmt.Sprintf("athd does not answer at %s (listen.admin): %v", a, err)
	case r.Missing() != "":
		return fmt.Sprintf("athd at %s is %s; see what athd serve wrote, such as athd.log", a, r.Missing())
	}
	return ""
}
