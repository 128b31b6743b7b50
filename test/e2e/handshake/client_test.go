package handshake

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/identity"
)

// client returns a client of a new agent, on the world's clock.
func (w *world) client(name string) *client.Client {
	w.t.Helper()
	doc, _ := identity.New(w.t, w.sites+"/"+name+".json", "Agent "+name)
	w.site.Handle("/"+name+".json", doc)
	c, err := client.New(client.Config{Server: w.public, Agent: doc, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.CloseIdleConnections)
	return c
}

// The public client and the companion understand each other in every mode of
// consent, whether the browser brings the code or the user does.
// proves: Z-1, Z-3, Z-5, C-6
func TestClientInEveryModeOfConsent(t *testing.T) {
	const redirectURI = "https://agent.example/done?x=1"
	for _, mode := range []string{athflow.ConsentPage, athflow.ConsentRedirect, athflow.ConsentDirect} {
		for _, redirect := range []string{"", redirectURI} {
			t.Run(mode+" "+redirect, func(t *testing.T) {
				w := newWorld(t, func(c *settings) { c.Consent = mode })
				c, ctx, scopes := w.client("public"), t.Context(), []string{"pictures:read"}
				found, err := c.Discover(ctx)
				if err != nil || len(found.Scopes("gallery")) != 2 || !found.IsApp("shop") || len(found.Providers()) != 2 {
					t.Fatalf("D-1, D-2: %+v %v", found, err)
				}
				reply, err := c.Register(ctx, client.Registration{Provider: "gallery", Scopes: scopes, RedirectURIs: []string{c.Callback(), redirectURI}})
				if err != nil || reply.Status != api.StatusApproved {
					t.Fatalf("%+v %v", reply, err)
				}
				authorization, err := c.Authorize(ctx, client.Consent{Provider: "gallery", Scopes: scopes, RedirectURI: redirect})
				if err != nil {
					t.Fatal(err)
				}
				if direct := strings.HasPrefix(authorization.URL, w.issuer); direct != (mode == athflow.ConsentDirect) {
					t.Errorf("the user is sent to %s", authorization.URL)
				}
				code := codeFor(t, authorization, w.consent(w.newBrowser(), authorization.URL), redirect != "")
				token, err := c.Exchange(ctx, authorization, code)
				if err != nil || token.Provider != "gallery" || token.AgentID != c.Agent().ID() || len(token.Scopes) != 1 {
					t.Fatalf("%+v %v", token, err)
				}
				if _, err := c.Exchange(ctx, authorization, code); client.CodeOf(err) != ath.SessionNotFound {
					t.Errorf("T-4: exchanged again: %v", err)
				}
				if err := c.Revoke(ctx, token.Access); err != nil {
					t.Errorf("V-1: %v", err)
				}
			})
		}
	}
}

// codeFor is the code that a browser has at the end: in the query of the redirect
// URI, or on the last page.
func codeFor(t *testing.T, a *client.Authorization, last *browser.Page, redirected bool) ath.Secret {
	t.Helper()
	if !redirected {
		return ath.NewSecret(athCode.FindString(last.Body))
	}
	if last.URL.Query().Get("x") != "1" {
		t.Errorf("the redirect URI's own query is lost: %s", last.URL.Path)
	}
	code, err := a.Code(last.URL.Query())
	if err != nil {
		t.Fatal(err)
	}
	q := last.URL.Query()
	q.Set("iss", "https://evil.example")
	if _, err := a.Code(q); err == nil {
		t.Error("C-6: a code of another server was taken")
	}
	return code
}

// proves, C-5, E-2
func TestClientKnowsEachRefusal(t *testing.T) {
	w := newWorld(t)
	c, ctx, wanted := w.client("refused"), t.Context(), client.Registration{Provider: "gallery", Scopes: []string{"pictures:read"}}
	if _, err := c.Register(ctx, wanted); err != nil {
		t.Fatal(err)
	}
	_, err := c.Register(ctx, wanted)
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Code != ath.Conflict || e.Status != http.StatusConflict || !strings.HasPrefix(e.DecisionID, "dec_") || e.Details["client_id"] != c.Credentials().ClientID {
		t.Fatalf("R-2: %+v", err)
	}
	if own, err := c.Status(ctx); err != nil || own.AgentID != c.Agent().ID() || len(own.RedirectURIs) != 1 {
		t.Errorf("R-8: %+v %v", own, err)
	}
	if _, err := c.Authorize(ctx, client.Consent{Provider: "gallery", Scopes: []string{"pictures:write"}}); client.CodeOf(err) != ath.ScopeNotApproved {
		t.Errorf("a scope that is not approved: %v", err)
	}
	authorization, err := c.Authorize(ctx, client.Consent{Provider: "gallery", Scopes: wanted.Scopes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exchange(ctx, authorization, ath.NewSecret("ath_code_x")); client.CodeOf(err) != ath.SessionNotFound {
		t.Errorf("before the user has answered: %v", err)
	}
	b := w.newBrowser()
	page, err := b.Get(ctx, authorization.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Submit(ctx, page.Form().Click("Deny")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exchange(ctx, authorization, ath.NewSecret("ath_code_x")); client.CodeOf(err) != ath.UserDenied {
		t.Errorf("C-5: %v", err)
	}
	stale := c.Credentials()
	if err := c.Remove(ctx, stale.ClientID); err != nil {
		t.Fatalf("R-7: %v", err)
	}
	if _, err := c.Status(ctx); err == nil || client.CodeOf(err) != "" {
		t.Errorf("without a registration something was asked: %v", err)
	}
	old, err := client.New(client.Config{Server: w.public, Agent: c.Agent(), Credentials: stale, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Status(ctx); client.CodeOf(err) != ath.NotFound {
		t.Errorf("R-7: %v", err)
	}
}

// The user says no where the agent has a redirect URI of its own.
// proves: C-5, C-6
func TestClientHearsThatTheUserSaidNo(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.client("denied"), t.Context()
	if _, err := c.Register(ctx, client.Registration{Provider: "gallery", Scopes: []string{"pictures:read"}, RedirectURIs: []string{"https://agent.example/done"}}); err != nil {
		t.Fatal(err)
	}
	a, err := c.Authorize(ctx, client.Consent{Provider: "gallery", Scopes: []string{"pictures:read"}, RedirectURI: "https://agent.example/done"})
	if err != nil {
		t.Fatal(err)
	}
	b := w.newBrowser()
	page, err := b.Get(ctx, a.URL)
	if err != nil {
		t.Fatal(err)
	}
	last, err := b.Submit(ctx, page.Form().Click("Deny"))
	if err != nil {
		t.Fatal(err)
	}
	answer := last.URL.Query()
	if _, err := a.Code(answer); err == nil {
		t.Error("a code came of a no")
	} else if e, ok := errors.AsType[*client.CallbackError](err); !ok || !e.Denied() {
		t.Errorf("%v of %s", err, answer.Get("error"))
	}
}
