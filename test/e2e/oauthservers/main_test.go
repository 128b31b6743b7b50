// Package oauthservers takes agents through Envoy and athd to the tokens of real
// OAuth servers, configured by their issuer alone, and prints what each server
// does beside what athd makes of it. Both are asserted: a later version of a
// server that behaves otherwise is seen.
package oauthservers

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/oauthservers"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "32") // they wait for the ends of tokens, most of the time
	stage.Main(m)
}

// patience bounds each wait for what takes a few lives of a token. It is there to
// end a test that hangs, also on a machine that has much else to do.
const patience = 2 * time.Minute

// products is the API behind Envoy: it tells which user's token a call had.
func products(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	w.Header().Set("X-User-Token", token)
}

// A world is everything for one server.
type world struct {
	t      *testing.T
	stage  *stage.Stage
	server *oauthservers.Server
	table  *table
}

// start starts servers, athd and Envoy before them.
func start(t *testing.T, names []string) (st *stage.Stage, servers []*oauthservers.Server) {
	t.Helper()
	listen := reserve.Addr(t)
	upstream := stage.StartUpstream(t, nil)
	upstream.Serve("/products", products)
	providers := map[string]any{}
	for _, name := range names {
		s := oauthservers.Start(t, name, "http://"+listen+ath.CallbackPath)
		providers[name] = s.Fields(upstream.URL)
		servers = append(servers, s)
	}
	return stage.Start(t, stage.Options{Mode: "gateway", Embedded: true, StoreTimeout: "5s", Listen: listen, Providers: providers}), servers
}

// An agent has a token of one user.
type agent struct {
	*client.Client
	token client.Token
	user  string
}

var athCode = regexp.MustCompile(`ath_code_[\w-]+`)

// handshakes are made one after the other: athd takes no more at a time than the
// machine has time for, and the tests of all servers begin at once.
var handshakes sync.Mutex

// agent takes a new agent through the whole handshake, for a user in a browser.
func (w *world) agent(b *browser.Browser, name, user string) *agent {
	w.t.Helper()
	handshakes.Lock()
	defer handshakes.Unlock()
	a := &agent{Client: w.stage.NewAgent(w.server.Name + "-" + name), user: user}
	if _, err := w.stage.Register(a.Client, w.server.Name, w.server.Scope); err != nil {
		w.t.Fatalf("register: %v", err)
	}
	auth, err := a.Authorize(w.t.Context(), client.Consent{Provider: w.server.Name, Scopes: []string{w.server.Scope}})
	if err != nil {
		w.t.Fatalf("authorize: %v", err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	page, err := b.Get(ctx, auth.URL)
	if err == nil && page.URL.Path == ath.ConsentStartPath {
		page, err = b.Submit(ctx, page.Form().Click("Allow"))
	}
	if err == nil {
		page, err = w.server.Allow(ctx, b, page, user)
	}
	if err != nil {
		w.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	code := athCode.FindString(page.Body)
	if code == "" {
		w.t.Fatalf("the last page (%d) shows no code: %s\n%v", page.Status, page.Text, b.Steps())
	}
	token, err := a.Exchange(w.t.Context(), auth, ath.NewSecret(code))
	if err != nil {
		w.t.Fatalf("token: %v", err)
	}
	a.token = *token
	return a
}

// An answer is what an agent's call came back with.
type answer struct {
	status int
	code   string // of a refusal
	reason string
	user   string // the user's token that the API saw
}

// call makes a call through Envoy.
func (w *world) call(a *agent) answer {
	w.t.Helper()
	ex := w.stage.Call(a.Client, a.token, http.MethodGet, "/ath/proxy/"+w.server.Name+"/products")
	got := answer{status: ex.Status, user: ex.Header.Get("X-User-Token")}
	if refusal := ex.Refusal(); refusal != nil && ex.Status != http.StatusOK {
		got.code = string(refusal.Code)
		got.reason, _ = refusal.Details["reason"].(string)
	}
	return got
}

// lost is what an agent is answered whose grant is gone at the server.
func (a answer) lost() bool {
	return a.status == http.StatusUnauthorized && a.code == "TOKEN_INVALID" && a.reason == "reauthorization_required"
}

// underWay is what an agent is answered while the user's new token is on its way:
// a decision does not wait for a server as slow as it may be on a busy machine.
func (a answer) underWay() bool {
	return a.status == http.StatusServiceUnavailable && a.code == "OAUTH_ERROR"
}

// busy is what an agent is answered where the machine has no time for a decision. It
// says nothing of the grant.
func (a answer) busy() bool {
	return a.status == http.StatusServiceUnavailable && a.code == "INTERNAL_ERROR"
}

// passes calls until a call passes, and returns the token that the API saw.
func (w *world) passes(a *agent) (user string) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		switch got := w.call(a); {
		case got.status == http.StatusOK:
			return got.user
		case !got.underWay() && !got.busy() || time.Now().After(end):
			w.t.Fatalf("a call is answered %+v", got)
		}
	}
}

// standsStill keeps athd from refreshing an agent's token until release is called:
// user is the access token, and refresh the refresh token that it has until then.
func (w *world) standsStill(a *agent) (user, refresh string, release func()) {
	w.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		user = w.passes(a)
		refresh = w.refreshOf(user)
		release, inTime := w.server.Proxy.HoldOf(refresh)
		if inTime {
			return user, refresh, release
		}
		release() // athd was faster
	}
	w.t.Fatal("athd refreshes a token before the test has seen it, each time")
	return "", "", nil
}

// outlives calls until the API sees other tokens of the user than the first so
// many times, and reports true; or until the agent is told that the grant is
// gone, and reports false. Anything else fails the test, but that a refresh is
// under way or the machine busy.
func (w *world) outlives(a *agent, times int) bool {
	w.t.Helper()
	seen := map[string]bool{}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		got := w.call(a)
		if got.lost() {
			return false
		}
		if got.underWay() || got.busy() {
			continue
		}
		if got.status != http.StatusOK {
			w.t.Fatalf("after %d tokens of the user a call is answered %+v", len(seen), got)
		}
		if seen[got.user] = true; len(seen) > times {
			return true
		}
	}
	w.t.Fatalf("the API has seen %d tokens of the user in %v", len(seen), patience)
	return false
}

// refreshOf is the refresh token that athd got with an access token.
func (w *world) refreshOf(access string) string {
	w.t.Helper()
	return w.callFor(access).Got.Refresh
}

// callFor is the call by which athd got an access token.
func (w *world) callFor(access string) oauthservers.TokenCall {
	w.t.Helper()
	for _, c := range w.server.Proxy.TokenCalls(w.server.Athd) {
		if c.Got.Access == access {
			return c
		}
	}
	w.t.Fatal("the API saw a token that the server has not given to athd")
	return oauthservers.TokenCall{}
}

// sentTimes counts how often athd has sent a refresh token.
func (w *world) sentTimes(refresh string) (n int) {
	for _, c := range w.server.Proxy.TokenCalls(w.server.Athd) {
		if c.Refresh == refresh {
			n++
		}
	}
	return n
}

// connection is what an operator reads of an agent's grant.
func (w *world) connection(a *agent) api.Connection {
	w.t.Helper()
	header := http.Header{"X-Ath-User-Token": {stage.AdminKey}}
	by := wire.Local()
	defer by.CloseIdleConnections()
	ex, err := wire.Call(w.t.Context(), by, http.MethodGet, w.stage.Public+ath.AdminConnectionsPath+"?agent="+url.QueryEscape(a.Agent().ID()), header, nil)
	var list api.ConnectionList
	if err == nil {
		err = json.Unmarshal(ex.Reply, &list)
	}
	if err != nil || len(list.Connections) != 1 {
		w.t.Fatalf("the agent's connections: %v, %s", err, ex.Reply)
	}
	return list.Connections[0]
}
