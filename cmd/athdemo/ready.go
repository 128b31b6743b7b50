package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/ready"
)

const watchInterval = 2 * time.Second

const welcome = `
Everything answers.

  %[1]s                             what agents and browsers see: Envoy
  %[1]s/.well-known/ath.json        what there is for agents: gateway mode
  %[1]s/.well-known/ath-app.json    and native mode
  %[2]s                            the OAuth server: log in as ` + userName + `, password ` + userPassword + `

Be the agent, and its user:
  docker compose run --rm --use-aliases agent

`

func newReady(t cli.Terminal) *cobra.Command {
	s := newService(t, &cobra.Command{
		Use:     "ready",
		Short:   "tell where everything is, once it answers",
		Example: "  athdemo ready --public http://localhost:8080 --login http://localhost:9000",
	})
	public := s.Flags().String("public", "", "Envoy's `URL`, as agents see it")
	login := s.Flags().String("login", "", "the OAuth server's `URL`, as browsers see it")
	return s.runs(func(ctx context.Context) error { return s.tellReady(ctx, *public, *login) }, "public", "login")
}

// tellReady prints the addresses once everything answers through Envoy, and
// again after each time when it did not. What it waits for it says, each time
// that this changes.
func (s *service) tellReady(ctx context.Context, public, login string) error {
	up, told := false, ""
	for {
		err := errors.Join(
			ready.Answers(ctx, public+ath.DiscoveryPath, http.StatusOK),
			ready.Answers(ctx, login+"/.well-known/openid-configuration", http.StatusOK))
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller ended it
		case err == nil && !up:
			fmt.Fprintf(s.Stdout, welcome, public, login)
			told = ""
		case err != nil && err.Error() != told:
			told = err.Error()
			fmt.Fprintf(s.Stdout, "Waiting, not everything answers: %s\n", strings.ReplaceAll(told, "\n", "; "))
		}
		up = err == nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// newHealth is the health check of containers that hold nothing else.
func newHealth(t cli.Terminal) *cobra.Command {
	s := newService(t, &cobra.Command{
		Use:     "health",
		Short:   "ask whether a URL answers",
		Example: "  athdemo health --url http://127.0.0.1:9000/.well-known/openid-configuration",
	})
	url := s.Flags().String("url", "", "the `URL` that must answer")
	status := s.Flags().Int("status", http.StatusOK, "with which `status`")
	return s.runs(func(ctx context.Context) error { return ready.Answers(ctx, *url, *status) }, "url")
}
