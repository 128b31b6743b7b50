package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A heldStatus is a token, or an authorization in flight, as it may be shown.
type heldStatus struct {
	Provider string   `json:"provider_id"`
	Token    string   `json:"access_token,omitempty"` // shortened
	Scopes   []string `json:"scopes"`
	API      string   `json:"api"`
	Expires  string   `json:"expires"`
	State    string   `json:"state"` // good, over, revoked; or waiting, code received
}

func runStatus(ctx context.Context, args []string, c *agentCommand) error {
	if err := c.none(args); err != nil {
		return err
	}
	state, known, err := c.registered()
	if err != nil {
		return err
	}
	own, err := c.client.Own(ctx)
	if err != nil {
		return err
	}
	tokens, sessions := statusOf(known, time.Now())
	if *c.output == "json" {
		shown := shownRegistration(own)
		shown["redirect_uris"] = own.Redirects
		return c.json(map[string]any{"agent_id": state.Agent.ID, "server": c.base, "registration": shown, "tokens": tokens, "sessions": sessions})
	}
	fmt.Fprintf(c.stdout, "agent id:        %s\nserver:          %s\n", state.Agent.ID, c.base)
	if err := c.showRegistration(own); err != nil {
		return err
	}
	for _, u := range own.Redirects {
		fmt.Fprintf(c.stdout, "redirects to:    %s\n", printable(u, 2048))
	}
	for _, t := range tokens {
		fmt.Fprintf(c.stdout, "token:           %s for %s (%s), %s, until %s\n", t.Token, printable(t.Provider, 64), printable(strings.Join(t.Scopes, " "), 500), t.State, t.Expires)
	}
	for _, s := range sessions {
		fmt.Fprintf(c.stdout, "in flight:       for %s (%s), %s, until %s\n", printable(s.Provider, 64), printable(strings.Join(s.Scopes, " "), 500), s.State, s.Expires)
	}
	return nil
}

// statusOf tells what an agent has at a server, without its secrets.
func statusOf(known *agentServer, now time.Time) (tokens, sessions []heldStatus) {
	tokens, sessions = []heldStatus{}, []heldStatus{}
	for _, name := range slices.Sorted(maps.Keys(known.Tokens)) {
		t := known.Tokens[name]
		status := "good"
		if t.Revoked {
			status = "revoked"
		} else if !now.Before(t.Expires) {
			status = "over"
		}
		tokens = append(tokens, heldStatus{name, shortToken(t.Access.Reveal()), t.Scopes, t.API, t.Expires.Format(time.RFC3339), status})
	}
	for _, s := range known.Sessions {
		if !now.Before(s.Expires) {
			continue
		}
		status := "waiting for the user"
		if !s.Code.IsZero() {
			status = "code received"
		}
		sessions = append(sessions, heldStatus{s.Provider, "", s.Scopes, s.API, s.Expires.Format(time.RFC3339), status})
	}
	return tokens, sessions
}
