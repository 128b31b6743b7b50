package extauthz

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

const (
	agentID     = "https://agent.example.com/agent.json"
	userToken   = "the-users-own-oauth-token"
	apiProvider = "shop"
	apiMount    = "/ath/proxy/shop/"
)

var quiet = slog.New(slog.DiscardHandler)

// A world is a store with one token in it, which may do one thing: GET
// products at the shop. Tests change what they are about.
type world struct {
	policy  approval.Policy
	t       testing.TB
	token   ath.Token
	reading tokenstore.Reading
	err     error
	panics  any
	byHost  bool // as in a mesh
	now     time.Time
	events  *audit.Log // default one that goes nowhere
	renewal vault.Result
	calls   ratelimit.Rate // that a grant may make, and has made; zero: any
}

// Soon is of [authz.Renewer].
func (w *world) Soon(*provider.Provider, *tokenstore.Grant, *tokenstore.Connection) {}

// Renew is of [authz.Renewer].
func (w *world) Renew(context.Context, *provider.Provider, *tokenstore.Grant, *tokenstore.Connection) vault.Result {
	return w.renewal
}

func newWorld(t testing.TB) *world {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	tag := ath.NewTag()
	return &world{
		policy: denying(t, "https://somebody.else/**"), // as most have it
		t:      t, now: now, token: ath.NewToken(tag),
		reading: tokenstore.Reading{
			Grant: &tokenstore.Grant{
				Agent: agentID, ClientID: "client", User: "user", Provider: apiProvider,
				Scopes: ath.Scopes{"products:read"}, Connection: tag, Expires: now.Add(time.Hour),
			},
			Connection: &tokenstore.Connection{
				Agent: agentID, User: "user", Provider: apiProvider, Access: ath.NewSecret(userToken),
				Destination: "https://auth.shop.example/token c https://api.shop.example",
			},
			Agent: &tokenstore.Agent{
				ID: agentID, ClientID: "client", ApprovalExpires: now.Add(time.Hour),
				Approvals: []tokenstore.Approval{{Provider: apiProvider, Approved: ath.Scopes{"products:read"}}},
			},
		},
	}
}

// denying is a policy that denies what it approves otherwise to some agents.
func denying(t testing.TB, agents string) approval.Policy {
	t.Helper()
	g, err := approval.ParseGlob(agents)
	if err != nil {
		t.Fatal(err)
	}
	return approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Agents: []approval.Glob{g}, Action: approval.Deny}}}
}

// Read is the store's.
func (w *world) Read(_ context.Context, token ath.Token, agent string) (tokenstore.Reading, error) {
	if w.panics != nil {
		panic(w.panics)
	}
	r := w.reading
	if token.Digest() != w.token.Digest() {
		r.Grant, r.Connection = nil, nil
	}
	if r.Agent != nil && r.Agent.ID != agent {
		r.Agent = nil
	}
	return r, w.err
}

// checks answers with a real Decider.
func (w *world) checks() *Checks {
	w.t.Helper()
	return checksOf(w.t, w.decider().Decide)
}

func checksOf(t testing.TB, decide func(context.Context, authz.Request) authz.Decision) *Checks {
	t.Helper()
	return New(judgeOf(t, decide))
}

func judgeOf(t testing.TB, decide func(context.Context, authz.Request) authz.Decision) *exchange.Judge {
	t.Helper()
	j, err := exchange.NewJudge(exchange.Config{Decide: decide, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (w *world) decider() *authz.Decider {
	w.t.Helper()
	list, faults := provider.Parse("providers.json", []byte(`{"shop": {
		"display_name": "Shop", "available_scopes": ["products:read", "products:write"],
		"authorize_endpoint": "https://auth.shop.example/authorize", "token_endpoint": "https://auth.shop.example/token",
		"api_base_url": "https://api.shop.example", "client_id": "c", "client_secret": "s",
		"scope_rules": [{"scope": "products:read", "methods": ["GET"], "paths": ["/products/**"]}, {"scope": "products:write", "methods": ["POST"], "paths": ["/products/**"]}]
	}}`), provider.Options{PublicURL: "https://gw.example"})
	if len(faults) > 0 {
		w.t.Fatal(faults)
	}
	set, err := provider.NewSet(append(list, append(runtimeProviders(list[0]), openApp())...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.events == nil {
		w.events = audit.New(audit.Config{Writer: io.Discard})
	}
	d, err := authz.New(authz.Config{
		Store: w, Renewer: w, Providers: provider.NewProviders(set), PublicURL: "https://gw.example", ByHost: w.byHost, Logger: quiet, Audit: w.events,
		Policy: w.policy, CallsPerGrant: w.calls, Now: func() time.Time { return w.now },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for range w.calls.N {
		to := w.reading.Grant.Provider
		r := authz.Request{Method: "GET", Path: "/ath/proxy/" + to + "/products/7", Provider: apiProvider, Mount: apiMount,
			Authorization: []string{"Bearer " + w.token.Secret().Reveal()}, AgentID: []string{agentID}}
		if to != apiProvider {
			r.Provider, r.Mount, r.Runtime = "", "", true
		}
		if got := d.Decide(w.t.Context(), r); !got.Allowed() {
			w.t.Fatal(got.Reason())
		}
	}
	return d
}

// runtimeProviders are as the one of the file, at other places: tools by TLS, and
// plain without.
func runtimeProviders(of *provider.Provider) (out []*provider.Provider) {
	for id, base := range map[string]*url.URL{
		"tools": {Scheme: "https", Host: "api.tools.example:443", Path: "/v2"}, "plain": {Scheme: "http", Host: "api.plain.example:8080"},
		"nowhere": {Scheme: "https", Host: "127.1"},
	} {
		p := *of
		p.ID, p.APIBase, p.Runtime = id, base, true
		out = append(out, &p)
	}
	return out
}

// withRuntime makes the world's token one for a run-time provider.
func (w *world) withRuntime(id string) *world {
	w.reading.Grant.Provider, w.reading.Connection.Provider = id, id
	w.reading.Agent.Approvals[0].Provider = id
	w.reading.Connection.Destination = map[string]string{
		"tools": "https://auth.shop.example/token c https://api.tools.example:443",
		"plain": "https://auth.shop.example/token c http://api.plain.example:8080", "nowhere": "https://auth.shop.example/token c https://127.1",
	}[id]
	return w
}

// onRuntimeRoute makes a request to the shop one to a run-time provider, by the
// route that they have in common.
func onRuntimeRoute(id string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		a.ContextExtensions = map[string]string{envoy.ExtRuntime: "true", envoy.ExtStream: envoy.HeaderStream}
		to := func(path string) string {
			rest, ok := strings.CutPrefix(path, apiMount)
			if !ok {
				return path
			}
			return "/ath/proxy/" + id + "/" + rest
		}
		http := a.Request.Http
		http.Path = to(http.Path)
		for _, h := range http.GetHeaderMap().GetHeaders() {
			if h.GetKey() == ":path" {
				h.Value, h.RawValue = to(h.Value), []byte(to(string(h.RawValue)))
			}
		}
		if path, there := http.Headers[":path"]; there {
			http.Headers[":path"] = to(path)
		}
	}
}

// openApp is an app that people call without an ATH token.
func openApp() *provider.Provider {
	at := &url.URL{Scheme: "https", Host: "site.example"}
	return &provider.Provider{ID: "site", DisplayName: "Site", TokenURL: at, AuthorizeURL: at, APIBase: at,
		App: &provider.App{Name: "Site", Upstream: at, Passthrough: true}}
}

// byPerson makes the request that of a person who calls the open app, with
// these headers.
func byPerson(headers ...string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		a.ContextExtensions = map[string]string{envoy.ExtProvider: "site"}
		a.Request.Http.HeaderMap = rawHeaders(append([]string{":method", "GET", ":path", "/"}, headers...)...)
	}
}

// joinedPath makes a request of a mesh without raw headers, to this target.
func joinedPath(target string, and func(*authv3.AttributeContext)) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		and(a)
		with(":path", target)(a)
		joined(true)(a)
	}
}

// toAthd makes the request one of the handshake, as a mesh asks about it.
func toAthd(headers ...string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		a.ContextExtensions = nil
		a.Request.Http.HeaderMap = rawHeaders(append([]string{":method", "POST", ":path", "/ath/token"}, headers...)...)
	}
}

// ask is the request that the world allows; edits change it.
func (w *world) ask(edits ...func(*authv3.AttributeContext)) *authv3.CheckRequest {
	a := &authv3.AttributeContext{
		ContextExtensions: map[string]string{envoy.ExtProvider: apiProvider, envoy.ExtMount: apiMount},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: apiMount + "products/7",
			HeaderMap: rawHeaders(":method", "GET", ":path", apiMount+"products/7",
				"authorization", "Bearer "+w.token.Secret().Reveal(), "x-ath-agent-id", agentID),
		}},
	}
	for _, edit := range edits {
		edit(a)
	}
	return &authv3.CheckRequest{Attributes: a}
}

func rawHeaders(pairs ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return m
}

// with sets a header, or removes it ("").
func with(name, value string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		m := a.Request.Http.HeaderMap
		for i, h := range m.Headers {
			if h.Key == name {
				m.Headers = append(m.Headers[:i], m.Headers[i+1:]...)
				break
			}
		}
		if value != "" {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
		}
	}
}

// also adds a header, whether it is there or not.
func also(name, value string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		m := a.Request.Http.HeaderMap
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
}

// joined turns the request into the form that Envoy uses without
// encode_raw_headers, with the pseudo headers or without.
func joined(pseudo bool) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		http := a.Request.Http
		http.Headers = map[string]string{}
		for _, h := range http.HeaderMap.Headers {
			if strings.HasPrefix(h.Key, ":") && !pseudo {
				continue
			}
			value := strings.ToValidUTF8(string(h.RawValue), "!")
			if before, there := http.Headers[h.Key]; there {
				value = before + "," + value
			}
			http.Headers[h.Key] = value
		}
		http.HeaderMap = nil
	}
}

func (w *world) check(c *Checks, r *authv3.CheckRequest) *authv3.CheckResponse {
	w.t.Helper()
	return decoded(w.t, c.check(w.t.Context(), scanned(w.t, r)))
}

// scanned is what arrives of a message.
func scanned(t testing.TB, r *authv3.CheckRequest) *attributes {
	t.Helper()
	data, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var a attributes
	if err := a.scan(data); err != nil {
		t.Fatal(err)
	}
	return &a
}

// decoded is what Envoy reads of a reply.
func decoded(t testing.TB, m message) *authv3.CheckResponse {
	t.Helper()
	var r authv3.CheckResponse
	if err := proto.Unmarshal(m, &r); err != nil {
		t.Fatalf("the reply cannot be read: %v", err)
	}
	return &r
}
