package catalog_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
	"github.com/athd/athd/revocation"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A world is a Redis, and any number of athd on it.
type world struct {
	redis  *miniredis.Miniredis // or server
	server *realredis.Server
	url    string
	keys   *tokenstore.Keyset
	files  string // providers.json
}

func newWorld(t testing.TB) *world {
	t.Helper()
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	redis := miniredis.RunT(t)
	return &world{redis: redis, url: "redis://" + redis.Addr(), keys: keys, files: `{"filed": ` + fields("filed", "") + `}`}
}

// fields are those of a provider.
func fields(client, more string) string {
	return fmt.Sprintf(`{"display_name": "X", "available_scopes": ["a:read", "a:write"], "client_id": %q, "client_secret": "s3cret",
		"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token",
		"revocation_endpoint": "https://login.example/revoke", "revocation": "each", "api_base_url": "https://api.example/v1"%s}`, client, more)
}

func config(client, more string) ath.Secret { return ath.NewSecret(fields(client, more)) }

func set(t testing.TB, text string) *provider.Set {
	t.Helper()
	all, faults := provider.Parse("providers.json", []byte(text), provider.Options{PublicURL: "https://gw.example"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	s, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A replica is one athd.
type replica struct {
	*catalog.Catalog
	store     *tokenstore.Store
	providers *provider.Providers
	issuers   *issuer.Keeper
	policy    *revocation.Policy
	trail     *audit.Log
	events    *text
	log       *text
	stop      func()
}

type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// parse is what athd of today understands.
func parse(id string, data []byte) (*provider.Provider, error) {
	p, faults := provider.ParseOne(id, data, provider.Options{PublicURL: "https://gw.example"})
	return p, faults.Err()
}

// make makes a replica that does not follow the store yet.
func (w *world) make(t testing.TB, change ...func(*catalog.Config)) *replica {
	t.Helper()
	r := &replica{events: &text{}, log: &text{}}
	r.providers = provider.NewProviders(set(t, w.files))
	r.policy = &revocation.Policy{Providers: r.providers, Logger: slog.New(slog.DiscardHandler), Observe: func(string, string) {}}
	var err error
	r.store, err = tokenstore.Open(tokenstore.Config{URL: w.url, Keyset: w.keys, Timeout: 5 * time.Second, Upstream: r.policy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.store.Close() })
	r.trail = audit.New(audit.Config{Writer: r.events})
	t.Cleanup(func() { r.trail.Close() })
	r.issuers, err = issuer.New(issuer.Config{
		Store: r.store, Providers: r.providers, Audit: r.trail, Logger: slog.New(slog.DiscardHandler), Retry: time.Hour,
		Fetch: func(_ context.Context, p *provider.Provider) (*metadata.Document, error) {
			return metadata.Parse([]byte(fmt.Sprintf(`{"issuer": %q, "authorization_endpoint": "%[2]s/authorize", "token_endpoint": "%[2]s/token"}`, p.Issuer, p.Issuer)))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.Config{
		Store: r.store, Issuers: r.issuers, Providers: r.providers, Files: r.providers.Current(), Audit: r.trail,
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(r.log), nil)), Parse: parse,
	}
	for _, f := range change {
		f(&c)
	}
	if r.Catalog, err = catalog.New(c); err != nil {
		t.Fatal(err)
	}
	r.policy.Find = r.Find
	return r
}

// run follows the store, until stop.
func (r *replica) run(t testing.TB) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { r.Run(ctx) })
	all.Go(func() { r.issuers.Run(ctx) })
	r.stop = func() { stop(); all.Wait() }
	t.Cleanup(r.stop)
}

func (w *world) start(t testing.TB, change ...func(*catalog.Config)) *replica {
	t.Helper()
	r := w.make(t, change...)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.run(t)
	return r
}

func (r *replica) get(id string) *provider.Provider { return r.providers.Current().Get(id) }

func (r *replica) add(t testing.TB, id string, c ath.Secret) {
	t.Helper()
	if _, err := r.Add(t.Context(), id, c, "ops"); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) change(t testing.TB, id string, c ath.Secret) {
	t.Helper()
	record, err := r.Read(t.Context(), id)
	if err == nil {
		_, err = r.Change(t.Context(), record, c, "dev")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

// connect stores a connection with a token of a user at a provider, and returns the tag.
func (r *replica) connect(t testing.TB, p *provider.Provider) ath.Tag {
	t.Helper()
	ctx, tag, now := t.Context(), ath.NewTag(), time.Now()
	agent := "https://agents.example/a.json"
	c := tokenstore.Connection{
		Agent: agent, User: "u1", Provider: p.ID, Access: ath.NewSecret("at"), Refresh: ath.NewSecret("rt"), Created: now, Destination: p.Destination(), Bound: p.Bound(),
	}
	g := tokenstore.Grant{Agent: agent, ClientID: "c", User: "u1", Provider: p.ID, Connection: tag, Issued: now, Expires: now.Add(time.Hour)}
	for _, err := range []error{r.store.PutConnection(ctx, tag, c, now.Add(time.Hour)), r.store.PutGrant(ctx, ath.NewToken(tag), g)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return tag
}

// connected reports whether a connection is there.
func (r *replica) connected(t testing.TB, tag ath.Tag) bool {
	t.Helper()
	_, err := r.store.Connection(t.Context(), tag)
	return err == nil
}
