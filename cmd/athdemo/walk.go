package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/shop"
	"github.com/athd/athd/internal/transcript"
	"github.com/athd/athd/internal/wire"
)

// What the agent asks for. The operator's policy leaves out orders:write
// (see config.go), the user orders:read.
func wanted() []string {
	return []string{"products:read", "cart:write", "orders:read", "orders:write"}
}

// A walk is the agent and the user before the stage.
type walk struct {
	*stage
	out     *transcript.Transcript
	client  *client.Client
	by      http.RoundTripper // records what the agent sends
	browser *browser.Browser
	quiet   bool // play, but print nothing

	approved []string   // scopes, by the operator
	token    ath.Secret // ATH's, as the agent holds it
	renewal  ath.Secret // gets another one, without the user
	browsed  int        // steps of the browser that are printed already
	open     *following // a stream of the agent's; nil: none
}

func newWalk(s *stage, out *transcript.Transcript) (*walk, error) {
	w := &walk{stage: s, out: out, browser: browser.New()}
	w.by = &wire.Recorder{Base: wire.Local(), Observe: func(ex *wire.Exchange) {
		if !w.quiet {
			out.Exchange(ex)
		}
	}}
	var err error
	w.client, err = client.New(client.Config{Server: s.Public, Agent: s.agent, Transport: w.by, Timeout: 10 * time.Second})
	return w, err
}

func (w *walk) close() {
	w.open.close()
	w.client.CloseIdleConnections()
	w.browser.Close()
}

// run plays all steps. An error means that the next step makes no sense;
// what is merely wrong is in the transcript.
func (w *walk) run(ctx context.Context) error {
	steps := []struct {
		title string
		play  func(context.Context) error
	}{
		{"Discover: the agent asks what there is", w.discover},
		{"Register: the agent proves who it is, and the operator's policy judges what it asks for", w.register},
		{"Authorize: the agent asks for a user's consent, and the user gives it in a browser", w.authorize},
		{"Call: what the token allows reaches the shop, with the user's own OAuth token", w.call},
		{"The shop rejects the user's token: athd has it replaced, and the agent notices nothing", w.heals},
		{"Call outside the scopes: refused before the shop sees it", w.callOutside},
		{"The same token under another agent's id: refused", w.callAsAnother},
		{"Renew: another token, without the user, for as long as the page said", w.renew},
		{"Stream: what the shop writes reaches the agent as it is written", w.stream},
		{"Revoke: the agent gives the token back, its stream ends at once, and the token is dead", w.revoke},
		{"Add a provider while everything runs: the agent uses it at once", w.addProvider},
		{"Remove the provider: the agent's next call is refused", w.removeProvider},
	}
	for _, s := range steps {
		w.out.Step("%s", s.title)
		err := s.play(ctx)
		w.out.End(err == nil)
		if err != nil {
			return fmt.Errorf("step %d: %w", w.out.Steps, err)
		}
	}
	return nil
}

func (w *walk) discover(ctx context.Context) error {
	found, err := w.client.Discover(ctx)
	if err != nil {
		return err
	}
	if found.App == nil || found.Gateway == nil {
		return errors.New("the server is not both an app and a gateway")
	}
	app, gateway := found.App, found.Gateway
	w.check(app.ID == appID && app.APIBase == w.Public, "D-2: the app and where its API is", app)
	w.check(app.Auth.Register == w.Public+ath.RegisterPath, "registration is at Envoy's address", app.Auth.Register)
	w.check(sameSet(app.Auth.Scopes, wanted()), "all scopes of the shop are offered", app.Auth.Scopes)
	w.check(gateway.ID == w.Public, "D-1: the gateway names itself by its public URL", gateway.ID)
	return nil
}

func (w *walk) register(ctx context.Context) error {
	reply, err := w.client.Register(ctx, client.Registration{Provider: appID, Scopes: wanted(), Purpose: "Shopping on behalf of the user"})
	if err != nil {
		return err
	}
	if len(reply.Providers) != 1 {
		return fmt.Errorf("%d providers in the reply, want 1", len(reply.Providers))
	}
	w.approved = reply.Providers[0].Approved
	w.check(reply.Status == "approved", "the agent is approved", reply.Status)
	w.check(sameSet(w.approved, []string{"products:read", "cart:write", "orders:read"}) &&
		sameSet(reply.Providers[0].Denied, []string{"orders:write"}), "R-1: for all but orders:write", reply.Providers[0])
	return nil
}

// authorize goes from the agent's wish to its token.
func (w *walk) authorize(ctx context.Context) error {
	authorization, err := w.client.Authorize(ctx, client.Consent{Provider: appID, Scopes: w.approved})
	if err != nil {
		return err
	}
	w.check(strings.HasPrefix(authorization.URL, w.Consent+"/"), "Z-3: the user passes through Envoy before the OAuth server, on the consent pages' own host", authorization.URL)
	code, err := w.consent(ctx, authorization.URL)
	if err != nil {
		return err
	}
	w.line("\n   The user gives the code to the agent, which redeems it:")
	token, err := w.client.Exchange(ctx, authorization, ath.NewSecret(code))
	if err != nil {
		return err
	}
	w.token, w.renewal = token.Access, token.Renewal
	w.check(sameSet(token.Scopes, []string{"products:read", "cart:write"}),
		"T-2: effective is what was approved, and consented, and requested", token.Scopes)
	w.check(strings.HasPrefix(token.Access.Reveal(), "ath_tk_") && token.AgentID == w.agent.ID() && token.Provider == appID,
		"T-3: an opaque token, bound to this agent and the shop", token)
	w.check(!slices.Contains(w.oauth.Issued(), token.Access.Reveal()), "the agent has not got the user's OAuth token", "it")
	return nil
}

var athCode = regexp.MustCompile(`ath_code_[\w-]+`)

// consent is the user in the browser: athd's page, login and consent at the
// OAuth server, and back. It returns the code that the last page shows.
func (w *walk) consent(ctx context.Context, url string) (string, error) {
	w.line("\n   The user opens the link:")
	page, err := w.browser.Get(ctx, url)
	w.browsing()
	if err != nil {
		return "", err
	}
	w.line("     page %q: %s", page.Title, page.Text)
	for _, shown := range append([]string{w.agent.Name, w.agent.Developer.Name, w.agentHost()}, w.approved...) {
		w.check(strings.Contains(page.Text, shown), fmt.Sprintf("Z-5: the page shows %q", shown), page.Text)
	}

	w.line("   The user presses Allow, and is led to the OAuth server:")
	page, err = w.browser.Submit(ctx, page.Form().Click("Allow"))
	w.browsing()
	if err != nil {
		return "", err
	}
	w.line("   The user logs in as %s:", userName)
	page, err = w.browser.Submit(ctx, page.Form().Fill("username", userName).Fill("password", userPassword))
	w.browsing()
	if err != nil {
		return "", err
	}
	w.line("     page %q: %s", page.Title, page.Text)

	w.line("   The user unticks orders:read, presses Allow, and is led back:")
	page, err = w.browser.Submit(ctx, page.Form().Untick("scope", "orders:read").Click("Allow"))
	w.browsing()
	if err != nil {
		return "", err
	}
	w.line("     page %q: %s", page.Title, page.Text)
	code := athCode.FindString(page.Body)
	if page.Status != http.StatusOK || code == "" {
		return "", fmt.Errorf("the last page has status %d and no code: %s", page.Status, transcript.Shorten(page.Text))
	}
	w.check(!containsAny(page.Body, w.oauth.Issued()), "C-3: no code and no token of the OAuth server is on the page", "one")
	return code, nil
}

// agentHost is the domain that a consent page shows for the agent.
func (w *walk) agentHost() string {
	return strings.TrimSuffix(strings.TrimPrefix(w.Agents, "http://"), "/agents")
}

// A reaching is a call of the agent's that the shop must see, at its own target.
type reaching struct {
	method, path, target string
	body                 any
}

func (w *walk) call(ctx context.Context) error {
	for _, c := range []reaching{
		{"GET", "/api/products", "/api/products", nil},
		{"POST", "/api/cart/add", "/api/cart/add", map[string]any{"product_id": "mug", "quantity": 1}},
		// The same API by the gateway's path.
		{"GET", ath.ProxyPath + appID + "/api/products", "/api/products", nil},
	} {
		if err := w.reaches(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// reaches makes a call that must be allowed, and looks at what the shop saw of it.
func (w *walk) reaches(ctx context.Context, c reaching) error {
	before := len(w.shop.Seen())
	ex, err := w.callAs(ctx, w.agent.ID(), c.method, c.path, c.body)
	if err != nil {
		return err
	}
	w.check(ex.Status == http.StatusOK, "the shop has answered", ex.Status)
	seen := w.shop.Seen()
	if len(seen) != before+1 {
		return fmt.Errorf("the shop saw %d requests, want 1", len(seen)-before)
	}
	request := seen[before]
	w.shopSaw(request)
	w.check(request.Target == c.target, "at the shop's own path", request.Target)
	authorization := request.Header.Values("Authorization")
	token, _ := strings.CutPrefix(strings.Join(authorization, ","), "Bearer ")
	user, _, ok := w.oauth.Lookup(token)
	w.check(len(authorization) == 1 && ok && user == userID, "P-5: with exactly one token, the user's own", authorization)
	w.check(len(request.ATH()) == 0 && !strings.Contains(fmt.Sprint(request.Header, request.Target), "ath_tk_"),
		"P-5: and nothing of the agent's: no X-ATH-* header, no ATH token", request.ATH())
	return nil
}

// heals has the shop reject the token that it took until now. The call arrives twice.
func (w *walk) heals(ctx context.Context) error {
	seen := w.shop.Seen()
	old := seen[len(seen)-1].Header.Get("Authorization")
	rejected := strings.TrimPrefix(old, "Bearer ")
	w.rejected.Store(&rejected)
	w.line("   The shop stops to take the token that it saw last.")
	ex, err := w.callAs(ctx, w.agent.ID(), http.MethodGet, "/api/products", nil)
	if err != nil {
		return err
	}
	w.check(ex.Status == http.StatusOK, "the agent gets what it asked for", ex.Status)
	arrived := w.shop.Seen()[len(seen):]
	if len(arrived) != 2 {
		return fmt.Errorf("the shop saw %d requests, want 2", len(arrived))
	}
	for _, r := range arrived {
		w.shopSaw(r)
	}
	renewed := arrived[1].Header.Get("Authorization")
	user, _, ok := w.oauth.Lookup(strings.TrimPrefix(renewed, "Bearer "))
	w.check(arrived[0].Header.Get("Authorization") == old && renewed != old && ok && user == userID,
		"the shop saw the call twice, the second time with another token of the same user's", len(arrived))
	return nil
}

// shopSaw prints a request as it arrived at the shop.
func (w *walk) shopSaw(r shop.Request) {
	w.out.Detail("   the shop saw: %s %s", r.Method, r.Target)
	w.out.Headers("     ", r.Header)
}

func (w *walk) callOutside(ctx context.Context) error {
	if err := w.refused(ctx, w.agent.ID(), "GET", "/api/orders", http.StatusForbidden, ath.ScopeNotApproved, "P-4: the user has not consented to orders:read"); err != nil {
		return err
	}
	return w.refused(ctx, w.agent.ID(), "POST", "/api/orders", http.StatusForbidden, ath.ScopeNotApproved, "P-4: the operator has not approved orders:write")
}

func (w *walk) callAsAnother(ctx context.Context) error {
	return w.refused(ctx, w.Agents+"/somebody-else.json", "GET", "/api/products", http.StatusForbidden, ath.AgentIdentityMismatch,
		"P-2: a token is good for its own agent only")
}

func (w *walk) renew(ctx context.Context) error {
	token, err := w.client.Renew(ctx, client.Token{Access: w.token, Provider: appID, Renewal: w.renewal})
	if err != nil {
		return err
	}
	w.check(!token.Access.Equal(w.token.Reveal()) && sameSet(token.Scopes, []string{"products:read", "cart:write"}), "T-8: a new token, for what the user has allowed", token)
	w.token = token.Access
	ex, err := w.callAs(ctx, w.agent.ID(), "GET", "/api/products", nil)
	if err != nil {
		return err
	}
	w.check(ex.Status == http.StatusOK, "the shop has answered", ex.Status)
	return nil
}

func (w *walk) revoke(ctx context.Context) error {
	began := time.Now()
	if err := w.client.Revoke(ctx, w.token); err != nil {
		return err
	}
	w.streamEnds(ctx, began)
	_, err := w.client.Renew(ctx, client.Token{Renewal: w.renewal})
	w.check(client.CodeOf(err) == ath.TokenRevoked, "V-6: and it is renewed no more", err)
	return w.refused(ctx, w.agent.ID(), "GET", "/api/products", http.StatusUnauthorized, ath.TokenRevoked, "V-4: the token is dead at once")
}

// callAs makes a call with the agent's token, under any agent's id.
func (w *walk) callAs(ctx context.Context, agentID, method, path string, body any) (*wire.Exchange, error) {
	return wire.Call(ctx, w.by, method, w.Public+path, wire.AsAgent(agentID, w.token), body)
}

// refused makes a call that must be refused, and must not reach the shop.
func (w *walk) refused(ctx context.Context, agentID, method, path string, status int, code ath.Code, why string) error {
	before := len(w.shop.Seen())
	ex, err := w.callAs(ctx, agentID, method, path, nil)
	if err != nil {
		return err
	}
	refusal := ex.Refusal()
	if refusal == nil {
		return errors.New("the call was allowed: " + why)
	}
	w.check(ex.Status == status && refusal.Code == code, why, fmt.Sprint(ex.Status, " ", refusal.Code))
	w.check(refusal.Details["decision_id"] != nil, "E-2: the refusal has a decision_id, which is in the audit log too", refusal.Details)
	w.check(len(w.shop.Seen()) == before, "the shop saw nothing", len(w.shop.Seen())-before)
	return nil
}

func (w *walk) line(format string, args ...any) {
	if !w.quiet {
		w.out.Detail(format, args...)
	}
}

func (w *walk) check(ok bool, want string, got any) {
	if !w.quiet {
		w.out.Check(ok, want, got)
	}
}

// browsing prints what the browser has done since the last time.
func (w *walk) browsing() {
	steps := w.browser.Steps()
	if !w.quiet {
		w.out.Browsing(steps[w.browsed:])
	}
	w.browsed = len(steps)
}

func containsAny(text string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}

// sameSet reports whether two lists hold the same strings, in any order.
func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
