package differential

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/envoy/watcher"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/asked"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/watch"
)

const agentID = "https://agent.example.com/agent.json"

var quiet = slog.New(slog.DiscardHandler)

// A door is a way to an API: what comes before the hostile part of a target,
// on which host, and what the API must see in place of its mount.
type door struct {
	provider, host, prefix string
	mount, base            string // both with a slash at the end
}

// doors are the same behind every front, but that the strict one has no forge.
var doors = []door{
	{"plain", "gw.example", "/ath/proxy/plain/", "/ath/proxy/plain/", "/base/"},
	{"root", "gw.example", "/ath/proxy/root/", "/ath/proxy/root/", "/"},
	{"wide", "gw.example", "/ath/proxy/wide/", "/ath/proxy/wide/", "/w/"}, // HTTP/2 behind TLS
	{"forge", "gw.example", "/ath/proxy/forge/", "/ath/proxy/forge/", "/forge/"},
	{"marks", "gw.example", "/ath/proxy/marks/", "/ath/proxy/marks/", "/m/"},    // takes '#', '?' and '%' encoded
	{"days", "gw.example", "/ath/proxy/days/", "/ath/proxy/days/", "/days/v3/"}, // takes '#' encoded
	{"app", "app.example", "/", "/", "/"},
	{"shop", "shop.example", "/shop/", "/", "/"},
	{"based", "based.example", "/", "/", "/v2/"},
}

// A judgement is what athd said of one request.
type judgement struct {
	front    string
	request  authz.Request
	decision authz.Decision
}

// A front is an Envoy that asks an athd of its own.
type front struct {
	name    string
	envoy   *realenvoy.Envoy
	clients [2]client // HTTP/1.1, HTTP/2
}

// A world is everything that runs. Its requests go one at a time, so that what
// was judged and what arrived belong together.
type world struct {
	fronts    []*front
	h1        *h1API
	h2        *h2API
	companion *h1API
	tokens    map[string]ath.Token // by provider

	mu     sync.Mutex
	reads  int
	judged []judgement
}

func newWorld(t testing.TB) *world {
	t.Helper()
	authority := realenvoy.NewAuthority(t)
	w := &world{tokens: map[string]ath.Token{}, h1: newH1API(t), companion: newH1API(t)}
	w.h2 = newH2API(t, authority.Certificate("127.0.0.1"))
	dir := t.TempDir()
	for _, d := range doors {
		w.tokens[d.provider] = ath.NewToken(ath.NewTag())
	}
	for _, kind := range fronts {
		set := w.providers(t, kind)
		socket := filepath.Join(dir, kind)
		w.decide(t, kind, set, socket)
		config := istioConfig(w, socket, authority.CAFile)
		if kind != "istio" {
			var err error
			config, err = bootstrap.Generate(bootstrap.Config{
				Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: []string{"unix:" + socket}, Companion: []string{w.companion.addr},
				Providers: ofFiles(t, set), PublicURL: "http://localhost:8080", CAFile: authority.CAFile,
				RuntimeProviders: len(runtimeDoors[kind]) > 0, Egress: w.egress(t, kind),
				ByExtProc: strings.HasPrefix(kind, "ext_proc"), WatchesStreams: hears(kind),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		f := &front{name: kind, envoy: realenvoy.Start(t, config)}
		addr := f.envoy.Addr("public")
		f.clients = [2]client{&h1Client{addr: addr}, &h2Client{addr: addr}}
		t.Cleanup(func() {
			for _, c := range f.clients {
				c.close()
			}
		})
		w.fronts = append(w.fronts, f)
	}
	return w
}

// fronts are the Envoys. runtime and "runtime h2" are as kept is, but for the
// providers that came while athd runs.
// The last three are as kept and runtime are, where ext_proc judges, and as kept where
// athd hears of long exchanges to their end.
var fronts = []string{"strict", "kept", "istio", "runtime", "runtime h2", "ext_proc", "ext_proc runtime", "watched"}

// runtimeDoors are the providers that are reached by the one route of all run-time
// providers. Where http is allowed none is spoken to by HTTP/2.
var runtimeDoors = map[string][]string{
	"runtime": {"plain", "root", "forge", "marks", "days"}, "runtime h2": {"wide"}, "ext_proc runtime": {"plain", "root", "forge", "marks", "days"},
}

// ofFiles are the providers that Envoy's configuration knows. One of them, which no
// door leads to, needs %2F kept: whether it is, Envoy's configuration says for all.
func ofFiles(t testing.TB, set *provider.Set) *provider.Set {
	t.Helper()
	var list []*provider.Provider
	for _, p := range set.All() {
		if !p.Runtime {
			list = append(list, p)
		} else if p.EncodedSlash {
			keeper := *p
			keeper.ID, keeper.Runtime = "keeper", false
			list = append(list, &keeper)
		}
	}
	known, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// egress lets Envoy connect to the APIs, which are on this machine.
func (w *world) egress(t testing.TB, kind string) egress.Policy {
	t.Helper()
	at := func(addr string, http bool) egress.Exception {
		a, err := netip.ParseAddrPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return egress.Exception{Addresses: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Port: a.Port(), HTTP: http}
	}
	switch kind {
	case "runtime", "ext_proc runtime":
		return egress.Policy{Allow: []egress.Exception{at(w.h1.addr, true)}}
	case "runtime h2":
		return egress.Policy{Allow: []egress.Exception{at(w.h2.addr, false)}}
	}
	return egress.Policy{}
}

// encodable is what the APIs take as a part of a segment where it is encoded.
var encodable = map[string]string{"forge": "/", "marks": "#?%", "days": "#"}

// providers returns the APIs behind the doors. Every scope opens everything,
// so that nothing but the target's own form refuses it.
func (w *world) providers(t testing.TB, kind string) *provider.Set {
	t.Helper()
	var entries []string
	for _, d := range doors {
		if d.provider == "forge" && kind == "strict" {
			continue
		}
		origin := "http://" + w.h1.addr
		if d.provider == "wide" {
			origin = "https://" + w.h2.addr
		}
		marks := "[]"
		if list := strings.Split(strings.Trim(encodable[d.provider], "/"), ""); len(list) > 0 {
			marks = `["` + strings.Join(list, `","`) + `"]`
		}
		entries = append(entries, fmt.Sprintf(`%q: {"display_name": "API", "available_scopes": ["all"],
			"authorize_endpoint": "https://auth.example/a", "token_endpoint": "https://auth.example/t",
			"api_base_url": %q, "client_id": "c", "client_secret": "s", "allow_encoded_slash": %v, "allow_encoded": %s,
			"scope_rules": [{"scope": "all", "methods": ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "paths": ["/**"]}]}`,
			d.provider, origin+strings.TrimSuffix(d.base, "/"), encodable[d.provider] == "/", marks))
	}
	list, faults := provider.Parse("providers.json", []byte("{"+strings.Join(entries, ",")+"}"),
		provider.Options{AllowHTTP: true, PublicURL: "http://localhost:8080"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, p := range list {
		p.Runtime = slices.Contains(runtimeDoors[kind], p.ID)
		switch p.ID {
		case "app":
			p.App = &provider.App{Upstream: p.APIBase}
		case "shop":
			p.App = &provider.App{Upstream: p.APIBase, Hosts: ath.MustParseHosts("shop.example"), PathPrefix: "/shop"}
		case "based":
			p.App = &provider.App{Upstream: p.APIBase, Hosts: ath.MustParseHosts("based.example")}
		}
	}
	set, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// decide runs an athd that records what it judges.
func (w *world) decide(t testing.TB, name string, set *provider.Set, socket string) {
	t.Helper()
	d, err := authz.New(authz.Config{
		Store: reader{w, set}, Held: reader{w, set}, Providers: provider.NewProviders(set), Logger: quiet, Audit: audit.New(audit.Config{Writer: io.Discard}),
		ByHost: name == "istio",
	})
	if err != nil {
		t.Fatal(err)
	}
	var further []exchange.Roles
	if hears(name) {
		further = append(further, w.watching(t, d, set))
	}
	s := asked.New(t, server.Config{Logger: quiet}, func(ctx context.Context, r authz.Request) authz.Decision {
		decision := d.Decide(ctx, r)
		if place, known := mountOf(r, decision); known {
			r.Mount = place
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.judged = append(w.judged, judgement{name, r, decision})
		return decision
	}, further...)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(over)
	})
}

// hears reports whether athd hears of long exchanges behind a front.
func hears(kind string) bool { return kind == "watched" || kind == "ext_proc" }

// watching is the role that hears of them. Nothing changes while they last.
func (w *world) watching(t testing.TB, d *authz.Decider, set *provider.Set) exchange.Roles {
	t.Helper()
	registry, err := watch.New(watch.Config{
		Holds: d.Holds, Changes: func() watch.Changes { return nothing{} }, Providers: provider.NewProviders(set),
		Limits: watch.Limits{PerGrant: 1000, PerAgent: 1000, Total: 1000},
		Audit:  audit.New(audit.Config{Writer: io.Discard}), Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	go registry.Run(t.Context())
	return exchange.Roles{envoy.RoleWatch: watcher.Watcher{Registry: registry}}
}

// nothing is a change feed on which nothing comes.
type nothing struct{}

func (nothing) Next(ctx context.Context) (tokenstore.Change, error) {
	<-ctx.Done()
	return tokenstore.Change{}, ctx.Err()
}
func (nothing) Age() time.Duration { return 0 }
func (nothing) Close()             {}

// mountOf says what the mount must have been where the route did not tell it.
func mountOf(r authz.Request, d authz.Decision) (string, bool) {
	if r.Provider != "" || d.Provider == "" {
		return "", false
	}
	mount := "/ath/proxy/" + d.Provider + "/"
	return mount, strings.HasPrefix(r.Path, mount)
}

// A reader is a store that knows the world's tokens. The credential that it
// gives is another one each time: it tells at the API which judgement let the
// request pass.
type reader struct {
	world *world
	set   *provider.Set
}

func (r reader) Read(ctx context.Context, token ath.Token, agent string) (tokenstore.Reading, error) {
	return r.ReadHeld(ctx, token.Tag(), token.Digest(), agent)
}

// ReadHeld is of [authz.HeldReader].
func (r reader) ReadHeld(_ context.Context, _ ath.Tag, digest ath.Digest, _ string) (tokenstore.Reading, error) {
	w := r.world
	w.mu.Lock()
	w.reads++
	credential := fmt.Sprintf("user-%d", w.reads)
	w.mu.Unlock()
	later := time.Now().Add(time.Hour)
	for id, known := range w.tokens {
		p := r.set.Get(id)
		if digest != known.Digest() || p == nil {
			continue
		}
		return tokenstore.Reading{
			Grant:      &tokenstore.Grant{Agent: agentID, ClientID: "c", Provider: id, Scopes: ath.Scopes{"all"}, Expires: later},
			Connection: &tokenstore.Connection{Access: ath.NewSecret(credential), Destination: p.Destination()},
			Agent: &tokenstore.Agent{
				ID: agentID, ClientID: "c", ApprovalExpires: later,
				Approvals: []tokenstore.Approval{{Provider: id, Approved: ath.Scopes{"all"}}},
			},
		}, nil
	}
	return tokenstore.Reading{}, nil
}

func (w *world) takeJudged() []judgement {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.judged
	w.judged = nil
	return out
}

// A try is one request, and what is sent of it.
type try struct {
	door    door
	method  string
	target  string
	headers []header
	body    string
	trailer []header // HTTP/2 only
}

type header struct{ name, value string }

// An outcome is what became of a try.
type outcome struct {
	status    string // of the reply; "reset" or "closed" without one
	judged    []judgement
	arrived   []arrival
	companion []arrival
}

// send sends one request and returns everything that came of it.
func (w *world) send(f *front, protocol int, t try) outcome {
	w.takeJudged()
	w.h1.take()
	w.h2.take()
	w.companion.take()
	status := f.clients[protocol].send(t)
	return outcome{status, w.takeJudged(), append(w.h1.take(), w.h2.take()...), w.companion.take()}
}
