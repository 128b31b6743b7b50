package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	identity "github.com/athd/athd/cmd/athdemo/agent"
	"github.com/athd/athd/internal/transcript"
)

func runToken(ctx context.Context, args []string, c *agentCommand) error {
	code := c.String("code", "", "the `CODE` that the user brought back, or the whole URL; without, what authorize received; - reads it from standard input")
	provider := c.String("provider", "", "the `ID` of the provider, where several authorizations are in flight; without, the latest")
	if err := c.none(args); err != nil {
		return err
	}
	_, known, err := c.registered()
	if err != nil {
		return err
	}
	session, err := c.inFlight(known, *provider)
	if err != nil {
		return err
	}
	expected := awaited{state: session.State.Secret, session: session.ID.Secret, issuer: c.base}
	brought := session.Code.Secret
	switch *code {
	case "":
	case "-":
		brought, err = expected.readPasted(ctx, c.stdin)
	default:
		brought, err = expected.pasted(*code)
	}
	if err != nil {
		return err
	}
	if brought.IsZero() {
		return c.wrong("which code? Use -code CODE: it is on the last page that the user saw")
	}
	token, reply, err := c.redeem(ctx, session, brought)
	if err != nil {
		return err
	}
	if *c.output == "json" {
		return c.json(shownToken(reply, token))
	}
	_, err = fmt.Fprintf(c.stdout, "token:      %s, kept in %s\nprovider:   %s\nscopes:     %s\ngood until: %s\ncalls go to %s\n",
		shortToken(reply.Access), c.file.path, printable(reply.Provider, 64),
		printable(strings.Join(reply.Effective, " "), 1000), until(token.Expires), token.API)
	return err
}

// inFlight finds the latest session, of a provider if one is named.
func (c *agentCommand) inFlight(known *agentServer, provider string) (*agentSession, error) {
	known.prune(time.Now())
	for _, s := range slices.Backward(known.Sessions) {
		if provider == "" || s.Provider == provider {
			return &s, nil
		}
	}
	return nil, errors.New("no authorization is in flight\nnext: athctl agent authorize -provider ID -scope SCOPE; one ends after ten minutes")
}

// redeem exchanges a code and keeps the token. A session that can come to
// nothing any more is dropped.
func (c *agentCommand) redeem(ctx context.Context, s *agentSession, code ath.Secret) (agentToken, identity.Token, error) {
	reply, err := c.client.Redeem(ctx, s.ID.Reveal(), code.Reveal())
	if err != nil {
		if refusal, ok := errors.AsType[*identity.Refusal](err); ok && isLast(ath.Code(refusal.Code)) {
			err = errors.Join(err, c.update(func(known *agentServer) { known.drop(s.ID) }))
		}
		return agentToken{}, reply, err
	}
	if reply.Access == "" || !strings.EqualFold(reply.Type, "Bearer") {
		return agentToken{}, reply, errors.New("the server answered without a Bearer token")
	}
	token := agentToken{
		Access: keep(reply.Access), Scopes: reply.Effective, API: s.API,
		Expires: time.Now().Add(time.Duration(max(0, min(reply.ExpiresIn, 24*60*60))) * time.Second).UTC().Truncate(time.Second),
	}
	return token, reply, c.update(func(known *agentServer) {
		known.drop(s.ID)
		if known.Tokens == nil {
			known.Tokens = map[string]agentToken{}
		}
		known.Tokens[s.Provider] = token
	})
}

// isLast reports whether a refusal says that the session is over.
func isLast(code ath.Code) bool {
	return slices.Contains([]ath.Code{ath.SessionExpired, ath.UserDenied, ath.OAuthError, ath.ScopeNotApproved}, code)
}

// shortToken leaves so much of a token that one knows it again. One that does
// not look like athd's is shortened too.
func shortToken(token string) string {
	if short := transcript.Shorten(token); short != token {
		return short
	}
	return printable(token[:min(4, len(token))], 4) + "…"
}

// shownToken is a reply of the token endpoint with the token shortened.
func shownToken(r identity.Token, t agentToken) map[string]any {
	return map[string]any{
		"access_token": shortToken(r.Access), "provider_id": r.Provider, "effective_scopes": r.Effective,
		"scope_intersection": map[string]any{
			"agent_approved": r.Intersection.Approved, "user_consented": r.Intersection.Consented, "effective": r.Intersection.Effective,
		},
		"expires": t.Expires.Format(time.RFC3339), "api": t.API,
	}
}

func runRevoke(ctx context.Context, args []string, c *agentCommand) error {
	provider := c.String("provider", "", "the `ID` of the token's provider, where there are several")
	if err := c.none(args); err != nil {
		return err
	}
	_, known, err := c.registered()
	if err != nil {
		return err
	}
	name, token, err := c.held(known, *provider)
	if err != nil {
		return err
	}
	if err := c.revoke(ctx, name, token); err != nil {
		return err
	}
	if *c.output == "json" {
		return c.json(map[string]any{"provider_id": name, "revoked": true})
	}
	_, err = fmt.Fprintf(c.stdout, "revoked the token for %s. A call with it is refused from now on.\n", name)
	return err
}

// revoke gives a token back. The state keeps it, marked: who tries athd out
// wants to see that it is dead.
func (c *agentCommand) revoke(ctx context.Context, name string, token agentToken) error {
	if err := c.client.Revoke(ctx, token.Access.Reveal()); err != nil {
		return err
	}
	return c.update(func(known *agentServer) {
		if t, is := known.Tokens[name]; is && t.Access.Equal(token.Access.Reveal()) {
			t.Revoked = true
			known.Tokens[name] = t
		}
	})
}

// held finds a token.
func (c *agentCommand) held(known *agentServer, provider string) (string, agentToken, error) {
	names := slices.Sorted(maps.Keys(known.Tokens))
	switch {
	case provider == "" && len(names) == 1:
		return names[0], known.Tokens[names[0]], nil
	case provider == "" && len(names) > 1:
		return "", agentToken{}, c.wrong("which token? Use -provider: %s", strings.Join(names, ", "))
	}
	token, is := known.Tokens[provider]
	if !is {
		return "", agentToken{}, fmt.Errorf("the agent has no token%s\nnext: athctl agent authorize, then athctl agent token", forName(provider))
	}
	return provider, token, nil
}

func forName(provider string) string {
	if provider == "" {
		return ""
	}
	return " for " + printable(provider, 64)
}

// isRefusalOfATH reports whether athd, and not the API, has answered: its
// refusals carry a code of E-1 and a decision_id (E-2).
func isRefusalOfATH(e *identity.Exchange) *identity.Refusal {
	r := e.Refusal()
	if r == nil || e.Status < http.StatusBadRequest {
		return nil
	}
	if _, known := advices()[ath.Code(r.Code)]; !known || r.Details["decision_id"] == nil {
		return nil
	}
	return r
}
