package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/athd/athd/admin"
	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/client"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/oauthserver"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
	"github.com/athd/athd/watch"
)

const adminToken = "admin-token-for-the-operator-0123456789"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"athctl": main})
}

// TestScripts runs athctl as operators do, against a companion of the script's
// own, where everything that agents ask for is reviewed. $ATHCTL_SERVER is
// where it is and $ATHCTL_TOKEN_FILE holds its admin token. Beside the
// commands of testscript there are
//
//	register NAME SCOPE...   registers an agent for scopes of the gallery; $NAME is its client_id
//	connect AGENT USER PROVIDER NAME [DAYS]
//	                         stores what a user allowed an agent, with a token; $NAME is the connection's id.
//	                         With DAYS it stands for as many
//	spoil ID                 spoils the record of a connection
//	hostile                  stores an agent, $hostile, whose words would steer a terminal
//	plant                    puts an agent's record into the store that does not open
//	rekey                    leaves the store as one that was written with another keyset
//	away                     takes the store away
//	moves URL                the issuer of the provider depot names URL as its token endpoint
//	oauth URI SCOPE...       starts an OAuth server, $OAUTH, with a client athd, $SECRET, of this redirect URI and scopes
//	logged TEXT              the companion's log holds TEXT
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			c, err := startCompanion(e.Defer, strings.HasSuffix(e.WorkDir, "script-providers"))
			if err != nil {
				return err
			}
			e.Values[companionKey{}] = c
			e.Setenv("ATHCTL_SERVER", c.url)
			e.Setenv("ATHCTL_TOKEN_FILE", e.WorkDir+"/admin.token")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"register": scriptRegister, "hostile": scriptHostile, "plant": scriptPlant, "rekey": scriptRekey, "away": scriptAway, "logged": scriptLogged, "moves": scriptMoves, "oauth": scriptOAuth,
			"connect": scriptConnect, "provider-says": scriptProviderSays, "spoil": scriptSpoil,
		},
	})
}

type companionKey struct{}

// A companion is a handshake with everything that it needs.
type companion struct {
	url   string
	redis *miniredis.Miniredis
	store *tokenstore.Store
	sites *http.ServeMux
	site  string
	log   logText

	keeper    *issuer.Keeper
	token     atomic.Pointer[string] // the depot's token endpoint
	refresh   atomic.Pointer[string] // what the archive's answers: a status, a space, a body
	providers *provider.Set
}

// logText is a log that can be read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// streams are what this companion says that it watches, the newest first.
func (c *companion) streams(agent string, most int) (seen []watch.Seen, all int) {
	at := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	for i, id := range []string{"https://b.example/agent.json", "https://a.example/\x1b[2J"} {
		if agent == "" || agent == id {
			n := 2 - i
			seen = append(seen, watch.Seen{
				Decision: fmt.Sprintf("dec_%d", n), Agent: id, Provider: "gallery", Scope: "pictures:read", Connection: ath.NewTag(),
				Since: at.Add(time.Duration(n) * time.Second), Until: at.Add(time.Hour),
			})
		}
	}
	return seen[:min(most, len(seen))], len(seen)
}

// startCompanion starts one. With depot it fronts a provider that says its issuer
// alone, too.
func startCompanion(later func(func()), depot bool) (*companion, error) {
	c := &companion{redis: miniredis.NewMiniRedis(), sites: http.NewServeMux()}
	if err := c.redis.Start(); err != nil {
		return nil, err
	}
	later(c.redis.Close)
	sites := httptest.NewServer(c.sites)
	later(sites.Close)
	c.site = sites.URL
	srv := httptest.NewUnstartedServer(nil)
	c.url = "http://" + srv.Listener.Addr().String()

	more := ""
	if depot {
		more = `, "depot": {
			"display_name": "The Depot", "available_scopes": ["crates:read"], "api_base_url": "https://depot.example", "issuer": "` + c.site + `/depot",
			"retry_on_401": true, "rewrite_links": true, "client_id": "athd", "client_secret": "secret"}`
	}
	list, faults := provider.Parse("providers.json", []byte(`{"gallery": {
		"display_name": "The Gallery", "available_scopes": ["pictures:read", "pictures:write"],
		"authorize_endpoint": "https://login.example.com/authorize", "token_endpoint": "https://login.example.com/token",
		"renewal": {"max": "60d", "idle": "30d"}, "client_id": "athd", "client_secret": "secret"}, "archive": {
		"display_name": "The Archive", "available_scopes": ["boxes", "openid"], "api_base_url": "https://archive.example/api",
		"authorize_endpoint": "https://login.example.com/authorize", "token_endpoint": "`+c.site+`/archive/token",
		"client_id": "athd", "client_secret": "secret", "scope_rules": [
			{"scope": "boxes", "methods": ["GET"], "paths": ["/boxes", "/boxes/*"]},
			{"scope": "boxes", "methods": ["POST", "PUT"], "paths": ["/boxes/**"]}]}`+more+`}`), provider.Options{PublicURL: c.url, AllowHTTP: true, ChecksReplies: true})
	if len(faults) > 0 {
		return nil, errors.New(faults.Error())
	}
	set, err := provider.NewSet(list...)
	if err != nil {
		return nil, err
	}
	c.providers = set
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		return nil, err
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + c.redis.Addr(), Keyset: keys, Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	later(func() { store.Close() })
	c.store = store
	verifier, err := attest.New(attest.Config{
		Once: func(ctx context.Context, a ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
			return store.Once(ctx, a.Tag(), what, value, ttl)
		},
		AllowHTTP: true, AllowPrivateHosts: true,
	})
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(&c.log, nil))
	server, err := httpapi.New(httpapi.Config{
		Store: store, Audit: audit.New(audit.Config{Writer: &c.log}), Logger: logger,
		AdminTokens: []httpapi.AdminToken{
			{Operator: httpapi.Operator{Name: "ops", Role: api.RoleAdmin}, Digest: ath.DigestOf(adminToken)},
			{Operator: httpapi.Operator{Name: "dashboard", Role: api.RoleViewer, Expires: time.Date(2999, 1, 31, 0, 0, 0, 0, time.UTC)}, Digest: ath.DigestOf("viewer-" + adminToken)},
		},
	})
	if err != nil {
		return nil, err
	}
	providers := provider.NewProviders(set)
	policy := approval.Policy{Default: approval.Review}
	if err := c.keepIssuer(providers, server, later); err != nil {
		return nil, err
	}
	c.sites.HandleFunc("/archive/token", func(w http.ResponseWriter, _ *http.Request) {
		status, body, _ := strings.Cut(*c.refresh.Load(), " ")
		code, _ := strconv.Atoi(status)
		w.WriteHeader(code)
		io.WriteString(w, body)
	})
	refresher, err := vault.New(vault.Config{
		Store: store, OAuth: provider.NewClient(provider.ClientConfig{AllowHTTP: true, AllowPrivate: true}), Audit: server.Audit, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	later(func() { refresher.Close(context.Background()) })
	options := provider.Options{PublicURL: c.url, TokenTTL: time.Hour}
	known, err := catalog.New(catalog.Config{
		Store: store, Issuers: c.keeper, Providers: providers, Files: set, Audit: server.Audit, Logger: logger,
		Parse: func(id string, data []byte) (*provider.Provider, error) {
			p, faults := provider.ParseOne(id, data, options)
			return p, faults.Err()
		},
	})
	if err == nil {
		err = known.Load(context.Background())
	}
	if err != nil {
		return nil, err
	}
	operators, err := admin.New(admin.Config{Server: server, Catalog: known, ProviderOptions: options, RuntimeRoute: true, ProvidersFile: "providers.json", Refresh: refresher.Ask, Issuers: c.keeper, Providers: providers, Attest: verifier, Policy: policy, Explain: explain, Destination: "route",
		Streams: c.streams})
	if err != nil {
		return nil, err
	}
	flow, err := athflow.New(athflow.Config{
		Server: server, PublicURL: c.url, Providers: providers, Attest: verifier,
		OAuth: provider.NewClient(provider.ClientConfig{}), Policy: policy, TokenTTL: time.Hour, SessionTTL: 10 * time.Minute,
		Consent: athflow.ConsentPage, AllowHTTP: true, Operators: operators.Routes(),
	})
	if err != nil {
		return nil, err
	}
	srv.Config.Handler = flow.Handler()
	srv.Start()
	later(srv.Close)
	return c, nil
}

// keepIssuer publishes the depot's metadata, and keeps it.
func (c *companion) keepIssuer(providers *provider.Providers, server *httpapi.Server, later func(func())) (err error) {
	at := c.site + "/depot"
	c.token.Store(new(at + "/token"))
	c.sites.HandleFunc("/depot/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"token_endpoint_auth_methods_supported":["client_secret_basic"]}`, at, at+"/authorize", *c.token.Load())
	})
	client := provider.NewClient(provider.ClientConfig{AllowHTTP: true, AllowPrivate: true})
	c.keeper, err = issuer.New(issuer.Config{
		Store: c.store, Providers: providers, Fetch: client.Metadata, Audit: server.Audit, Logger: server.Logger, Every: 10 * time.Millisecond, Retry: time.Millisecond,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); c.keeper.Run(ctx) }()
	later(func() { stop(); <-ended })
	c.keeper.Tried(ctx)
	return nil
}

func scriptMoves(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: moves URL")
	}
	c := of(ts)
	c.token.Store(&args[0])
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c.redis.FastForward(3 * time.Second) // to the next turn to ask
		if s, _ := c.keeper.Of("depot"); len(s.Moves) == 1 && s.Moves[0].To == args[0] {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("nobody noticed")
		}
	}
}

func scriptOAuth(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: oauth URI SCOPE...")
	}
	const secret = "secret-of-athd"
	srv := httptest.NewUnstartedServer(nil)
	at := "http://" + srv.Listener.Addr().String()
	s, err := oauthserver.New(oauthserver.Config{
		Issuer:  at,
		Clients: []oauthserver.Client{{ID: "athd", Secret: secret, RedirectURIs: args[:1], Scopes: args[1:]}},
		Users:   []oauthserver.User{{ID: "u", Name: "u", Password: "p"}},
	})
	ts.Check(err)
	srv.Config.Handler = s
	srv.Start()
	ts.Defer(srv.Close)
	ts.Setenv("OAUTH", at)
	ts.Setenv("SECRET", secret)
}

func of(ts *testscript.TestScript) *companion { return ts.Value(companionKey{}).(*companion) }

func scriptRegister(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: register NAME SCOPE...")
	}
	c, name, scopes := of(ts), args[0], args[1:]
	key, err := client.NewKey()
	ts.Check(err)
	a, err := client.NewIdentity(c.site+"/"+name+".json", name, key)
	ts.Check(err)
	a.Developer = api.Developer{Name: "Demo Developers", ID: "demo-developers"}
	c.sites.Handle("/"+name+".json", a)
	by, err := client.New(client.Config{Server: c.url, Agent: a})
	ts.Check(err)
	defer by.CloseIdleConnections()
	r, err := by.Register(context.Background(), client.Registration{Provider: "gallery", Scopes: scopes, Purpose: "Shopping on behalf of the user"})
	ts.Check(err)
	ts.Setenv(name, r.ClientID)
	ts.Setenv(name+"_id", a.ID())
}

func scriptConnect(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 && len(args) != 5 {
		ts.Fatalf("usage: connect AGENT USER PROVIDER NAME [DAYS]")
	}
	c, ctx, agent, user, at := of(ts), context.Background(), ts.Getenv(args[0]+"_id"), args[1], args[2]
	if user == "evil" {
		user = "\x1b[2Jalice"
	}
	tag, now := ath.NewTag(), time.Now().UTC()
	ts.Check(c.store.PutConnection(ctx, tag, tokenstore.Connection{
		Agent: agent, User: user, Provider: at, Access: ath.NewSecret("token-of-" + args[1]), Refresh: ath.NewSecret("refresh-token-of-" + args[1]),
		Scopes: ath.Scopes{"pictures:read"}, Created: now, Destination: c.providers.Get(at).Destination(),
	}, now.Add(10*time.Minute)))
	token, grant := ath.NewToken(tag), tokenstore.Grant{
		Agent: agent, ClientID: ts.Getenv(args[0]), User: user, Provider: at, Scopes: ath.Scopes{"pictures:read"},
		Connection: tag, Issued: now, Expires: now.Add(time.Hour),
	}
	if len(args) == 4 {
		ts.Check(c.store.PutGrant(ctx, token, grant))
	} else {
		days, err := strconv.Atoi(args[4])
		ts.Check(err)
		renewal := ath.NewRenewalToken(tag)
		grant.Renewal = renewal.Digest()
		ts.Check(c.store.PutRenewal(ctx, renewal, tokenstore.Renewal{
			Agent: agent, ClientID: grant.ClientID, User: user, Provider: at, Scopes: grant.Scopes, Connection: tag, Issued: now, Used: now,
			Terms: ath.RenewalTerms{Max: time.Duration(days) * 24 * time.Hour, Idle: 24 * time.Hour},
		}, token, grant))
	}
	ts.Setenv(args[3], ath.NewConnectionID(tag).String())
}

// scriptProviderSays sets what the archive's token endpoint answers from now on.
func scriptProviderSays(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: provider-says STATUS BODY")
	}
	says := strings.Join(args, " ")
	of(ts).refresh.Store(&says)
}

func scriptSpoil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: spoil ID")
	}
	id, err := ath.ParseConnectionID(args[0])
	ts.Check(err)
	ts.Check(of(ts).redis.Set("ath:{"+string(id.Tag())+"}:conn", "\x01nobody's"))
}

// scriptHostile writes what a registration would not let through.
func scriptHostile(ts *testscript.TestScript, _ bool, _ []string) {
	id, err := ath.ParseAgentID("https://hostile.example/", false)
	ts.Check(err)
	clientID := ath.NewClientID(id).String()
	ts.Check(of(ts).store.CreateAgent(context.Background(), tokenstore.Agent{
		ID: id.String(), ClientID: clientID, Name: "\x1b[2J\rgood\u202e", Developer: tokenstore.Developer{Name: "\x1b]0;x\a"}, Purpose: "\x1b[1A",
	}))
	ts.Setenv("hostile", clientID)
}

func scriptRekey(ts *testscript.TestScript, _ bool, _ []string) {
	c := of(ts)
	elsewhere := miniredis.NewMiniRedis()
	ts.Check(elsewhere.Start())
	defer elsewhere.Close()
	keys, err := tokenstore.NewKeyset()
	ts.Check(err)
	other, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + elsewhere.Addr(), Keyset: keys, Timeout: 5 * time.Second})
	ts.Check(err)
	defer other.Close()
	_, err = other.Ready(context.Background())
	ts.Check(err)
	for _, key := range elsewhere.Keys() {
		if elsewhere.Type(key) != "string" {
			continue // the log of the change feed, which no keyset seals
		}
		value, err := elsewhere.Get(key)
		ts.Check(err)
		ts.Check(c.redis.Set(key, value))
	}
	for _, key := range c.redis.Keys() {
		if strings.HasSuffix(key, ":agent") {
			ts.Check(c.redis.Set(key, "\x01another keyset's"))
		}
	}
}

func scriptPlant(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(of(ts).redis.Set("ath:{"+string(ath.NewTag())+"}:agent", "\x01nobody's"))
}

func scriptAway(ts *testscript.TestScript, _ bool, _ []string) { of(ts).redis.Close() }

func scriptLogged(ts *testscript.TestScript, neg bool, args []string) {
	if strings.Contains(of(ts).log.String(), args[0]) == neg {
		ts.Fatalf("want %v: the log holds %q:\n%s", !neg, args[0], of(ts).log.String())
	}
}

// TestAdminTokenGoesOnlyToTheServerThatIsMeant holds to whom the admin token is sent.
func TestAdminTokenGoesOnlyToTheServerThatIsMeant(t *testing.T) {
	file := t.TempDir() + "/admin.token"
	write(t, file, adminToken+"\n")
	for _, c := range []struct {
		url  string
		http bool
		ok   bool
	}{
		{"https://gw.example.com", false, true}, {"https://gw.example.com/", false, true}, {"http://127.0.0.1:8080", false, true},
		{"http://localhost:8080", false, true}, {"http://[::1]:8080", false, true}, {"http://gw.example.com", true, true},
		{"http://gw.example.com", false, false}, {"http://localhost.example.com", false, false}, {"http://10.0.0.1", false, false},
		{"gw.example.com", true, false}, {"ftp://gw.example.com", true, false}, {"https://gw.example.com/ath", false, false},
		{"https://u:p@gw.example.com", false, false}, {"https://gw.example.com?x=1", false, false}, {"https://", false, false}, {"", false, false},
	} {
		if _, err := newClient(c.url, file, c.http); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.url, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var got []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("X-ATH-User-Token")) }))
	defer thief.Close()
	server := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	file := t.TempDir() + "/admin.token"
	write(t, file, adminToken)
	var out strings.Builder
	code := run(t.Context(), []string{"agents", "list", "--server", server.URL, "--token-file", file}, quiet(io.Discard, &out))
	if code != cli.ExitFault || len(got) != 0 || strings.Contains(out.String(), adminToken) {
		t.Errorf("exit code %d, the token went elsewhere: %q\n%s", code, got, &out)
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/good", adminToken)
	write(t, dir+"/empty", "\n")
	write(t, dir+"/two", "one\ntwo\n")
	id, err := ath.ParseAgentID("https://agent.example/", false)
	if err != nil {
		t.Fatal(err)
	}
	client := ath.NewClientID(id).String()
	at := []string{"--server", "http://127.0.0.1:1", "--token-file", dir + "/good"}
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"no command is a wrong usage", nil, cli.ExitUsage},
		{"an unknown command is a wrong usage", []string{"frobnicate"}, cli.ExitUsage},
		{"agents wants a verb", []string{"agents"}, cli.ExitUsage},
		{"an unknown verb is a wrong usage", []string{"agents", "frobnicate"}, cli.ExitUsage},
		{"an unknown flag is a wrong usage", append([]string{"agents", "list", "--frobnicate"}, at...), cli.ExitUsage},
		{"an argument too many is a wrong usage", append([]string{"agents", "list", "x"}, at...), cli.ExitUsage},
		{"an unknown status is a wrong usage", append([]string{"agents", "list", "--status", "all"}, at...), cli.ExitUsage},
		{"a user to end wants a name", append([]string{"users", "end", ""}, at...), cli.ExitUsage},
		{"an id that is none is a wrong usage", append([]string{"connections", "end", "ath_conn_x"}, at...), cli.ExitUsage},
		{"show wants an agent", append([]string{"agents", "show"}, at...), cli.ExitUsage},
		{"two agents are one too many", append([]string{"agents", "suspend", client, client}, at...), cli.ExitUsage},
		{"what is no client_id is a wrong usage", append([]string{"agents", "suspend", "../" + client[3:]}, at...), cli.ExitUsage},
		{"a scope without a provider is a wrong usage", append([]string{"agents", "approve", client, "--scope", "read"}, at...), cli.ExitUsage},
		{"a time that is none is a wrong usage", append([]string{"agents", "approve", client, "--expires", "soon"}, at...), cli.ExitUsage},
		{"an output that is none is a wrong usage", append([]string{"agents", "list", "-o", "yaml"}, at...), cli.ExitUsage},
		{"no server is a wrong usage", []string{"agents", "list", "--token-file", dir + "/good"}, cli.ExitUsage},
		{"no token is a wrong usage", []string{"agents", "list", "--server", "http://127.0.0.1:1"}, cli.ExitUsage},
		{"explain wants a method and a URL", append([]string{"explain", "GET"}, at...), cli.ExitUsage},
		{"explain takes one token", append([]string{"explain", "--token", "a", "--token-stdin", "GET", "/x"}, at...), cli.ExitUsage},
		{"explain wants a server", []string{"explain", "--token-file", dir + "/good", "GET", "/x"}, cli.ExitUsage},
		{"scopes takes one name", []string{"scopes", "github", "slack"}, cli.ExitUsage},
		{"scopes of a server wants a token", []string{"scopes", "--server", "http://127.0.0.1:1"}, cli.ExitUsage},
		{"presets need no server", []string{"scopes"}, cli.ExitOK},
		{"a preset that is none is a fault", []string{"scopes", "nobody"}, cli.ExitFault},
		{"help of explain is no fault", []string{"explain", "-h"}, cli.ExitOK},
		{"help of scopes is no fault", []string{"scopes", "-h"}, cli.ExitOK},
		{"help is no fault", []string{"help"}, cli.ExitOK},
		{"help of agents is no fault", []string{"agents", "-h"}, cli.ExitOK},
		{"help of a verb is no fault", []string{"agents", "approve", "-h"}, cli.ExitOK},
		{"a server that is away is a fault", append([]string{"agents", "list"}, at...), cli.ExitFault},
		{"a missing token file is a fault", []string{"agents", "list", "--server", "http://127.0.0.1:1", "--token-file", dir + "/none"}, cli.ExitFault},
		{"an empty token file is a fault", []string{"agents", "list", "--server", "http://127.0.0.1:1", "--token-file", dir + "/empty"}, cli.ExitFault},
		{"a token file of two lines is a fault", []string{"agents", "list", "--server", "http://127.0.0.1:1", "--token-file", dir + "/two"}, cli.ExitFault},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if got := run(t.Context(), c.args, quiet(&out, &out)); got != c.want {
				t.Errorf("exit code %d, want %d\n%s", got, c.want, &out)
			}
			if out.Len() == 0 || strings.Contains(out.String(), adminToken) {
				t.Errorf("nothing was said, or the token:\n%s", &out)
			}
		})
	}
}

// quiet is a terminal at which nobody types.
func quiet(stdout, stderr io.Writer) cli.Terminal {
	return cli.Terminal{Stdout: stdout, Stderr: stderr, LookupEnv: func(string) (string, bool) { return "", false }, Stdin: strings.NewReader("")}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
