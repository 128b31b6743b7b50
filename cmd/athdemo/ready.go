package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/athd/athd/ath"
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

// tellReady prints the addresses once everything answers through Envoy, and
// again after each time when it did not.
func tellReady(ctx context.Context, s *service) error {
	public := s.String("public", "", "Envoy's `URL`, as agents see it")
	login := s.String("login", "", "the OAuth server's `URL`, as browsers see it")
	if err := s.parse("public", "login"); err != nil {
		return err
	}
	up := false
	for {
		err := errors.Join(
			ready.Answers(ctx, *public+ath.DiscoveryPath, http.StatusOK),
			ready.Answers(ctx, *login+"/.well-known/openid-configuration", http.StatusOK))
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && !up:
			fmt.Fprintf(s.stdout, welcome, *public, *login)
		case err != nil && up:
			fmt.Fprintf(s.stdout, "Not everything answers: %v\n", err)
		}
		up = err == nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// askHealth is the health check of containers that hold nothing else.
func askHealth(ctx context.Context, s *service) error {
	url := s.String("url", "", "the `URL` that must answer")
	status := s.Int("status", http.StatusOK, "with which status")
	if err := s.parse("url"); err != nil {
		return err
	}
	return ready.Answers(ctx, *url, *status)
}
