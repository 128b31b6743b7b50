package handshake

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

var (
	ownershipSeeds = flag.Int("ownership-seeds", 150, "how many random interleavings TestTokensOfOneUserNeverServeAnother plays")
	ownershipSeed  = flag.Uint64("ownership-seed", 0, "plays this one alone; 0: all")
)

const ownershipSteps = 60

// ownershipProviders vary by how their users are called.
var ownershipProviders = map[string]map[string]any{
	"gallery":  {"user_id_field": "user"},
	"mail":     {"user_id_field": "account.id"},
	"nameless": {}, // T-7: nobody says who the user is
}

// Tokens of one user never serve another, nor another agent or provider, whatever
// agents, users, operators, providers, replicas, clocks and a store that fails do,
// in whatever order; and what has ended serves nobody.
//
// A seed that fails is played again with -ownership-seed=N; more of them with
// -ownership-seeds=N.
//
// proves: T-3, T-7, P-1, P-2
func TestTokensOfOneUserNeverServeAnother(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		seeds := *ownershipSeeds
		if testing.Short() {
			seeds = 30
		}
		playSeeds(t, seeds, func(t *testing.T) (string, func(time.Duration), func(bool)) {
			server := miniredis.RunT(t)
			return "redis://" + server.Addr(), server.FastForward, func(fails bool) {
				text := ""
				if fails {
					text = "OOM command not allowed when used memory > 'maxmemory'."
				}
				server.SetError(text)
			}
		})
	})
	t.Run("redis-server", func(t *testing.T) {
		server := realredis.Start(t)
		playSeeds(t, max(1, *ownershipSeeds/15), func(t *testing.T) (string, func(time.Duration), func(bool)) {
			if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			return server.URL(), func(time.Duration) {}, func(bool) {}
		})
	})
}

// FuzzTokensOfOneUserNeverServeAnother lets the fuzzer choose the steps.
func FuzzTokensOfOneUserNeverServeAnother(f *testing.F) {
	f.Add([]byte("\x01\x02\x03\x04\x05\x06\x07\x08"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		server := miniredis.RunT(t)
		o := newOwnership(t, "redis://"+server.Addr(), server.FastForward, func(bool) {}, rand.New(&chosen{choices}))
		for range min(len(choices), ownershipSteps) {
			o.step()
		}
	})
}

// chosen is a source of what a fuzzer chose, over and over.
type chosen struct{ bytes []byte }

func (c *chosen) Uint64() (v uint64) {
	if len(c.bytes) == 0 {
		return 0
	}
	for i := range 8 {
		v = v<<8 | uint64(c.bytes[i%len(c.bytes)])
	}
	c.bytes = append(c.bytes[1:len(c.bytes):len(c.bytes)], c.bytes[0]+1)
	return v * 0x9e3779b97f4a7c15
}

func playSeeds(t *testing.T, seeds int, start func(*testing.T) (string, func(time.Duration), func(bool))) {
	var total tallyOfSteps
	play := func(seed uint64) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			at, forward, fail := start(t)
			o := newOwnership(t, at, forward, fail, rand.New(rand.NewPCG(seed, 14)))
			for range ownershipSteps {
				o.step()
				if t.Failed() {
					t.Fatalf("play it again: go test ./test/e2e/handshake -run ^%s$ -ownership-seed=%d\n%s", "TestTokensOfOneUserNeverServeAnother", seed, strings.Join(o.said, "\n"))
				}
			}
			total.add(&o.tally)
			if *ownershipSeed != 0 {
				t.Log(strings.Join(o.said, "\n"))
			}
		})
	}
	if *ownershipSeed != 0 {
		play(*ownershipSeed)
		return
	}
	for seed := range seeds {
		play(uint64(seed) + 1)
	}
	t.Logf("%d seeds: %+v", seeds, total)
	if seeds >= 10 && (total.Allowed == 0 || total.Refreshed == 0 || total.Ended == 0 || total.Crossed == 0 || total.Tokens == 0) {
		t.Errorf("what is looked for did not happen: %+v", total)
	}
}

// tallyOfSteps says that a run was not about nothing.
type tallyOfSteps struct {
	Tokens, Allowed, AllowedRefreshed, Refreshed, Refused, Ended, Crossed int
}

func (y *tallyOfSteps) add(of *tallyOfSteps) {
	y.Tokens, y.Allowed, y.AllowedRefreshed = y.Tokens+of.Tokens, y.Allowed+of.Allowed, y.AllowedRefreshed+of.AllowedRefreshed
	y.Refreshed, y.Refused, y.Ended, y.Crossed = y.Refreshed+of.Refreshed, y.Refused+of.Refused, y.Ended+of.Ended, y.Crossed+of.Crossed
}

// ownership is some athd on one Redis, and what a model knows of what they may do.
type ownership struct {
	t       *testing.T
	r       *rand.Rand
	forward func(time.Duration)
	fail    func(bool)
	url     string
	keys    *tokenstore.Keyset
	list    *provider.Providers
	server  *mint

	mu    sync.Mutex
	ahead time.Duration

	replicas []*owner
	agents   []*ownedAgent
	sessions []*ownedSession
	tokens   []*ownedToken
	serial   int
	said     []string
	tally    tallyOfSteps
}

// An owner is one athd.
type owner struct {
	store   *tokenstore.Store
	vault   *vault.Vault
	handler http.Handler
	decider *authz.Decider
}

type ownedAgent struct{ id, clientID, secret string }

type ownedSession struct {
	agent              *ownedAgent
	clientID, provider string
	id, state          string
	challenge          string
	user               string // who allowed; "": nobody yet
	upstreamCode, code string
	finished           bool
}

type ownedToken struct {
	text, clientID              string
	agent                       *ownedAgent
	user, provider, upstreamKey string
	ended                       bool
}

func newOwnership(t *testing.T, at string, forward func(time.Duration), fail func(bool), r *rand.Rand) *ownership {
	t.Helper()
	o := &ownership{t: t, r: r, forward: forward, fail: fail, url: at, server: &mint{lines: map[string]*mintLine{}}}
	var err error
	if o.keys, err = tokenstore.NewKeyset(); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	for id, more := range ownershipProviders {
		fields := map[string]any{
			"display_name": id, "available_scopes": []string{"items:read"}, "authorize_endpoint": "https://" + id + ".example/authorize",
			"token_endpoint": "https://" + id + ".example/token", "api_base_url": "https://api." + id + ".example", "client_id": "athd-" + id, "client_secret": "secret",
			"scope_rules": []map[string]any{{"scope": "items:read", "methods": []string{"GET"}, "paths": []string{"/items/**"}}},
		}
		maps.Copy(fields, more)
		all[id] = fields
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	list, faults := provider.Parse("providers.json", text, provider.Options{PublicURL: "https://gw.example"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	o.list = provider.NewProviders(set)
	for range 3 {
		o.replicas = append(o.replicas, o.start())
	}
	t.Cleanup(func() {
		for _, r := range o.replicas {
			r.close()
		}
	})
	for i := range 3 {
		a := &ownedAgent{id: fmt.Sprintf("https://agents.example/%d.json", i)}
		o.agents = append(o.agents, a)
		o.register(a)
	}
	return o
}

func (o *ownership) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Now().Add(o.ahead)
}

func (o *ownership) start() *owner {
	o.t.Helper()
	must := func(err error) {
		o.t.Helper()
		if err != nil {
			o.t.Fatal(err)
		}
	}
	r := &owner{}
	var err error
	r.store, err = tokenstore.Open(tokenstore.Config{URL: o.url, Keyset: o.keys, Now: o.now, Timeout: 5 * time.Second})
	must(err)
	trail, logger := audit.New(audit.Config{Writer: io.Discard}), slog.New(slog.DiscardHandler)
	oauth := provider.NewClient(provider.ClientConfig{Now: o.now, Transport: o.server})
	r.vault, err = vault.New(vault.Config{
		Store: r.store, OAuth: oauth, Audit: trail, Logger: logger, Now: o.now,
		Lease: 200 * time.Millisecond, Call: time.Second, Grace: time.Millisecond, Settle: time.Millisecond, Wait: 100 * time.Millisecond,
	})
	must(err)
	r.decider, err = authz.New(authz.Config{Store: r.store, Renewer: r.vault, Used: r.store.Used, Providers: o.list, Audit: trail, Logger: logger, Now: o.now})
	must(err)
	verifier, err := attest.New(attest.Config{Once: func(ctx context.Context, a ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
		return r.store.Once(ctx, a.Tag(), what, value, ttl)
	}, Now: o.now, SkipVerification: true})
	must(err)
	r.handler, _, err = build(settings{
		flowConfig: athflow.Config{
			PublicURL: "https://gw.example", Providers: o.list, Attest: verifier, OAuth: oauth, Policy: approval.Policy{Default: approval.Approve},
			TokenTTL: time.Hour, SessionTTL: 10 * time.Minute, Consent: athflow.ConsentDirect, SkipAttestation: true,
		},
		serverConfig: httpapi.Config{Store: r.store, Audit: trail, Logger: logger, Now: o.now, AdminTokens: []httpapi.AdminToken{{Operator: httpapi.Operator{Name: "ops", Role: api.RoleAdmin}, Digest: ath.DigestOf(adminToken)}}},
	})
	must(err)
	return r
}

func (r *owner) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.vault.Close(ctx)
	r.store.Close()
}

func pick[T any](o *ownership, from []T) T { return from[o.r.IntN(len(from))] }

func (o *ownership) say(format string, args ...any) {
	o.said = append(o.said, fmt.Sprintf(format, args...))
}

// ask sends a request to any replica.
func (o *ownership) ask(method, path string, body any, headers ...string) (int, map[string]any, http.Header) {
	o.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		o.t.Fatal(err)
	}
	if body == nil {
		text = nil
	}
	req := httptest.NewRequest(method, "https://gw.example"+path, strings.NewReader(string(text)))
	if text != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	n := o.r.IntN(len(o.replicas))
	w := httptest.NewRecorder()
	o.replicas[n].handler.ServeHTTP(w, req)
	o.say("%s %s at %d: %d", method, strings.SplitN(path, "?", 2)[0], n, w.Code)
	var out map[string]any
	json.Unmarshal(w.Body.Bytes(), &out)
	return w.Code, out, w.Header()
}

// attest makes an attestation whose signature nobody looks at.
func (o *ownership) attest(a *ownedAgent, path string) string {
	o.serial++
	claims, err := json.Marshal(map[string]any{
		"iss": a.id, "sub": a.id, "aud": "https://gw.example" + path, "iat": o.now().Unix(), "exp": o.now().Add(time.Hour).Unix(), "jti": fmt.Sprint("jti-", o.serial),
	})
	if err != nil {
		o.t.Fatal(err)
	}
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"ES256","kid":"key-1"}`)) + "." + part(claims) + "." + part(make([]byte, 64))
}

func textOf(m map[string]any, name string) string { s, _ := m[name].(string); return s }

func (o *ownership) register(a *ownedAgent) {
	asked := []body{}
	for _, id := range slices.Sorted(maps.Keys(ownershipProviders)) {
		asked = append(asked, body{"provider_id": id, "scopes": []string{"items:read"}})
	}
	status, got, _ := o.ask("POST", "/ath/agents/register", body{
		"agent_id": a.id, "agent_attestation": o.attest(a, ""), "purpose": "testing", "developer": body{"name": "D", "id": "d"},
		"requested_providers": asked, "redirect_uris": []string{"https://agent.example/cb"},
	})
	if status == http.StatusCreated {
		a.clientID, a.secret = textOf(got, "client_id"), textOf(got, "client_secret")
	}
}

func (o *ownership) providerID() string {
	return pick(o, slices.Sorted(maps.Keys(ownershipProviders)))
}

// step does one thing at random.
func (o *ownership) step() {
	switch n := o.r.IntN(100); {
	case n < 3:
		o.register(pick(o, o.agents))
	case n < 16:
		o.authorize()
	case n < 30:
		o.callback()
	case n < 44:
		o.exchange()
	case n < 76:
		o.decide()
	case n < 80:
		o.revoke()
	case n < 86:
		o.operate()
	case n < 92:
		by := pick(o, []time.Duration{time.Second, 50 * time.Second, 5 * time.Minute, 6 * time.Minute, 20 * time.Minute})
		o.mu.Lock()
		o.ahead += by
		o.mu.Unlock()
		o.forward(by)
		o.say("%v pass", by)
	case n < 95:
		how := pick(o, []string{"", "", "refuse", "fail"})
		o.server.set(how)
		o.say("the providers refresh: %q", how)
	case n < 97:
		i := o.r.IntN(len(o.replicas))
		o.replicas[i].close()
		o.replicas[i] = o.start()
		o.say("replica %d is restarted", i)
	default:
		o.say("the store fails")
		o.fail(true)
		pick(o, []func(){o.callback, o.exchange, o.decide, o.revoke, o.operate})()
		o.fail(false)
	}
	for range 3 {
		o.decide()
	}
}

func (o *ownership) authorize() {
	s := &ownedSession{agent: pick(o, o.agents), provider: o.providerID()}
	s.clientID = s.agent.clientID
	status, got, _ := o.ask("POST", "/ath/authorize", body{
		"client_id": s.clientID, "agent_attestation": o.attest(s.agent, ""), "provider_id": s.provider, "scopes": []string{"items:read"}, "state": "s", "user_redirect_uri": "https://agent.example/cb",
	})
	if status != http.StatusOK {
		return
	}
	u, err := url.Parse(textOf(got, "authorization_url"))
	if err != nil || u.Host != s.provider+".example" {
		o.t.Errorf("the user is sent to %s for %s", u, s.provider)
		return
	}
	s.id, s.state, s.challenge = textOf(got, "ath_session_id"), u.Query().Get("state"), u.Query().Get("code_challenge")
	o.sessions = append(o.sessions, s)
}

// callback comes with a session's own code, or with that of another one.
func (o *ownership) callback() {
	if len(o.sessions) == 0 {
		return
	}
	s := pick(o, o.sessions)
	if s.user == "" || !s.finished && o.r.IntN(3) == 0 {
		s.user = pick(o, []string{"alice", "bob", "carol"})
		o.serial++
		s.upstreamCode = fmt.Sprintf("code~%s~%s~%s~%d", s.user, s.provider, s.agent.id[len(s.agent.id)-6:], o.serial)
		o.server.allow(s.upstreamCode, s.challenge)
	}
	code := s.upstreamCode
	if other := pick(o, o.sessions); o.r.IntN(4) == 0 && other != s && other.upstreamCode != "" {
		code = other.upstreamCode
		o.tally.Crossed++
	}
	status, _, header := o.ask("GET", "/ath/callback?"+url.Values{"state": {s.state}, "code": {code}}.Encode(), nil)
	to, err := url.Parse(header.Get("Location"))
	if status/100 != 3 || err != nil {
		return
	}
	if ours := to.Query().Get("code"); ours != "" {
		if code != s.upstreamCode {
			o.t.Errorf("a session was finished with another's code")
		}
		s.code, s.finished = ours, true
	}
}

// exchange redeems a code, also with another agent's credentials or session.
func (o *ownership) exchange() {
	var ready []*ownedSession
	for _, s := range o.sessions {
		if s.code != "" {
			ready = append(ready, s)
		}
	}
	if len(ready) == 0 {
		return
	}
	s := ready[len(ready)-1-o.r.IntN(min(3, len(ready)))]
	a, id, code := s.agent, s.id, s.code
	switch o.r.IntN(6) {
	case 0:
		a = pick(o, o.agents)
	case 1:
		id = pick(o, ready).id
	case 2:
		code = pick(o, ready).code
	}
	crossed := a != s.agent || id != s.id || code != s.code
	if crossed {
		o.tally.Crossed++
	}
	status, got, _ := o.ask("POST", "/ath/token", body{
		"grant_type": "authorization_code", "client_id": a.clientID, "client_secret": a.secret, "agent_attestation": o.attest(a, "/ath/token"), "code": code, "ath_session_id": id,
	})
	if status != http.StatusOK {
		return
	}
	if crossed || a.clientID != s.clientID {
		o.t.Errorf("a token is given for another's session, code or registration")
		return
	}
	o.tally.Tokens++
	_, serial, _ := strings.Cut(strings.Replace(s.upstreamCode, "code~", "", 1), s.agent.id[len(s.agent.id)-6:]+"~")
	o.tokens = append(o.tokens, &ownedToken{text: textOf(got, "access_token"), clientID: a.clientID, agent: a, user: s.user, provider: s.provider, upstreamKey: serial})
	s.code = ""
}

// decide asks any replica, also in another agent's name or at another provider.
func (o *ownership) decide() {
	if len(o.tokens) == 0 {
		return
	}
	k := pick(o, o.tokens)
	agent, at, path := k.agent, k.provider, "items/1"
	switch o.r.IntN(8) {
	case 0:
		agent = pick(o, o.agents)
	case 1:
		at = o.providerID()
	case 2:
		path = "other"
	}
	crossed := agent != k.agent || at != k.provider || path != "items/1"
	if crossed {
		o.tally.Crossed++
	}
	n := o.r.IntN(len(o.replicas))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d := o.replicas[n].decider.Decide(ctx, authz.Request{
		Method: "GET", Path: "/ath/proxy/" + at + "/" + path, Provider: at, Mount: "/ath/proxy/" + at + "/",
		Authorization: []string{"Bearer " + k.text}, AgentID: []string{agent.id},
	})
	o.say("call of %s for %s at %s with a token of %s, %s, %s (ended %t) at %d: %s", agent.id, path, at, k.agent.id, k.user, k.provider, k.ended, n, d.Reason())
	if d.Reason() == authz.ReauthorizationRequired {
		o.tally.Refused++
	}
	if !d.Allowed() {
		return
	}
	o.tally.Allowed++
	switch {
	case crossed:
		o.t.Error("a call passes in another's name, at another provider, or for another path")
	case k.ended:
		o.t.Error("a token passes that has ended")
	}
	// access~user~provider~agent~serial~n
	parts := strings.Split(strings.TrimPrefix(d.Authorization().Reveal(), "Bearer "), "~")
	if len(parts) != 6 || parts[0] != "access" || parts[1] != k.user || parts[2] != k.provider || parts[3] != k.agent.id[len(k.agent.id)-6:] || parts[4] != k.upstreamKey {
		o.t.Errorf("the API gets %q for a token of %s at %s by %s, authorization %s", parts, k.user, k.provider, k.agent.id, k.upstreamKey)
	}
	if parts[len(parts)-1] != "0" {
		o.tally.AllowedRefreshed++
	}
	o.tally.Refreshed = o.server.refreshes()
}

// end marks what has ended.
func (o *ownership) end(which func(*ownedToken) bool) {
	for _, k := range o.tokens {
		if !k.ended && which(k) {
			k.ended = true
			o.tally.Ended++
		}
	}
}

func (o *ownership) revoke() {
	if len(o.tokens) == 0 {
		return
	}
	k := pick(o, o.tokens)
	a := k.agent
	if o.r.IntN(4) == 0 {
		a = pick(o, o.agents)
		o.tally.Crossed++
	}
	status, _, _ := o.ask("POST", "/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": k.text})
	if status == http.StatusOK && a.clientID == k.clientID {
		o.end(func(x *ownedToken) bool { return x == k })
	}
}

// operate is what operators do.
func (o *ownership) operate() {
	a := pick(o, o.agents)
	ops := []string{"X-ATH-User-Token", adminToken}
	switch o.r.IntN(5) {
	case 0:
		if status, _, _ := o.ask("POST", "/ath/admin/agents/"+a.clientID+"/suspend", body{}, ops...); status == http.StatusOK {
			o.end(func(k *ownedToken) bool { return k.clientID == a.clientID })
		}
	case 1:
		o.ask("POST", "/ath/admin/agents/"+a.clientID+"/resume", body{}, ops...)
	case 2:
		if status, _, _ := o.ask("DELETE", "/ath/admin/agents/"+a.clientID, nil, ops...); status == http.StatusOK {
			o.end(func(k *ownedToken) bool { return k.clientID == a.clientID })
			o.register(a)
		}
	case 3:
		user, at := pick(o, []string{"alice", "bob", "carol"}), pick(o, []string{"", "gallery", "mail"})
		if status, got, _ := o.ask("POST", "/ath/admin/users/end", body{"user_id": user, "provider_id": at}, ops...); status == http.StatusOK && textOf(got, "next") == "" {
			o.end(func(k *ownedToken) bool {
				return k.user == user && (at == "" || at == k.provider) && k.provider != "nameless"
			})
		}
	case 4:
		if len(o.tokens) == 0 {
			return
		}
		k := pick(o, o.tokens)
		if status, _, _ := o.ask("POST", "/ath/admin/connections/"+connectionText(k.text)+"/end", body{}, ops...); status == http.StatusOK {
			o.end(func(x *ownedToken) bool { return connectionText(x.text) == connectionText(k.text) })
		}
	}
}

// A mint is the providers' token endpoints. What they give says whose it is, and
// refresh tokens are good for one use.
type mint struct {
	mu      sync.Mutex
	codes   map[string]string // to the challenge
	lines   map[string]*mintLine
	how     string
	rotated int
}

type mintLine struct {
	user, at, agent, serial string
	n                       int
	dead                    bool
}

func (m *mint) set(how string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.how = how
}

func (m *mint) refreshes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rotated
}

func (m *mint) allow(code, challenge string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.codes == nil {
		m.codes = map[string]string{}
	}
	m.codes[code] = challenge
}

// RoundTrip implements [http.RoundTripper].
func (m *mint) RoundTrip(req *http.Request) (*http.Response, error) {
	req.ParseForm()
	m.mu.Lock()
	status, reply := m.answer(req.URL.Host, req.PostForm)
	m.mu.Unlock()
	text, err := json.Marshal(reply)
	w := httptest.NewRecorder()
	w.WriteHeader(status)
	w.Write(text)
	res := w.Result()
	res.Request = req
	return res, err
}

func (m *mint) answer(host string, form url.Values) (int, map[string]any) {
	refused := map[string]any{"error": "invalid_grant"}
	var l *mintLine
	if form.Get("grant_type") == "refresh_token" {
		l = m.lines[form.Get("refresh_token")]
		switch {
		case m.how == "fail":
			return 503, map[string]any{"error": "server_error"}
		case l == nil || l.dead || l.at+".example" != host || form.Get("refresh_token") != l.refresh() || m.how == "refuse":
			if l != nil {
				l.dead = true
			}
			return 400, refused
		}
		l.n++
		m.rotated++
	} else {
		code := form.Get("code")
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		parts := strings.Split(code, "~")
		if challenge := m.codes[code]; challenge == "" || challenge != base64.RawURLEncoding.EncodeToString(sum[:]) || parts[2]+".example" != host {
			return 400, refused
		}
		delete(m.codes, code)
		l = &mintLine{user: parts[1], at: parts[2], agent: parts[3], serial: parts[4]}
	}
	m.lines[l.refresh()] = l
	return 200, map[string]any{
		"access_token": "access" + strings.TrimPrefix(l.refresh(), "refresh"), "refresh_token": l.refresh(), "token_type": "Bearer", "expires_in": 300,
		"user": l.user, "account": map[string]any{"id": l.user},
	}
}

func (l *mintLine) refresh() string {
	return fmt.Sprintf("refresh~%s~%s~%s~%s~%d", l.user, l.at, l.agent, l.serial, l.n)
}
