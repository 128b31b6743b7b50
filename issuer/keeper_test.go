package issuer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
	"github.com/athd/athd/tokenstore"
)

// A server publishes a document about itself, or is away.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	document map[string]any
	place    atomic.Pointer[string]
	away     atomic.Bool
	asked    atomic.Int64
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.place.Store(new("/.well-known/openid-configuration"))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != *s.place.Load() {
			http.NotFound(w, r)
			return
		}
		s.asked.Add(1)
		if s.away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(s.document)
	}))
	t.Cleanup(s.Close)
	s.document = map[string]any{
		"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token",
	}
	return s
}

func (s *server) says(more map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.document, more)
}

// A replica is one athd's keeper, beside others of one store.
type replica struct {
	*issuer.Keeper
	providers *provider.Providers
	stop      func()
	events    *events
}

type events struct {
	mu   sync.Mutex
	text strings.Builder
}

func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(p)
}

func (e *events) count(what string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Count(e.text.String(), what)
}

type world struct {
	redis  *miniredis.Miniredis
	keys   *tokenstore.Keyset
	issuer string
	more   string // of the provider
	every  time.Duration
	ids    []string

	ageless atomic.Bool // no turn ends
	panics  atomic.Bool // whoever asks the issuer
}

func newWorld(t *testing.T, s *server) *world {
	t.Helper()
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	redis := miniredis.RunT(t)
	w := &world{redis: redis, keys: keys, issuer: s.URL, every: time.Hour, ids: []string{"shop"}}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() { // it does not age keys by itself; the turn to ask comes round faster than in life
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				if !w.ageless.Load() {
					redis.FastForward(100 * time.Millisecond)
				}
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	}()
	return w
}

func (w *world) start(t *testing.T) *replica {
	t.Helper()
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + w.redis.Addr(), Keyset: w.keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	file := map[string]any{}
	for _, id := range w.ids {
		entry := map[string]any{}
		text := fmt.Sprintf(`{"display_name": "Shop", "issuer": %q, "client_id": "athd", "client_secret": "s", "api_base_url": "https://api.example", "available_scopes": ["things:read"]%s}`, w.issuer, w.more)
		if err := json.Unmarshal([]byte(text), &entry); err != nil {
			t.Fatal(err)
		}
		file[id] = entry
	}
	data, _ := json.Marshal(file)
	all, faults := provider.Parse("providers.json", data, provider.Options{AllowHTTP: true})
	if faults != nil {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{providers: provider.NewProviders(set), events: &events{}}
	trail := audit.New(audit.Config{Writer: r.events})
	t.Cleanup(func() { trail.Close() })
	client := provider.NewClient(provider.ClientConfig{AllowHTTP: true, AllowPrivate: true})
	r.Keeper, err = issuer.New(issuer.Config{
		Store: store, Providers: r.providers, Fetch: func(ctx context.Context, p *provider.Provider) (*metadata.Document, error) {
			if w.panics.Load() {
				panic("a fault")
			}
			return client.Metadata(ctx, p)
		}, Audit: trail, Logger: slog.New(slog.DiscardHandler),
		Every: w.every, Retry: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	r.stop = func() { stop(); <-ended }
	t.Cleanup(r.stop)
	return r
}

func (r *replica) shop() *provider.Provider { return r.providers.Current().Get("shop") }

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

func TestAPanicWhileAnIssuerIsAskedIsAFailure(t *testing.T) {
	s := newServer(t)
	w := newWorld(t, s)
	w.panics.Store(true)
	r := w.start(t)
	r.Tried(t.Context())
	if r.shop().Ready() {
		t.Error("there are endpoints")
	}
	w.panics.Store(false)
	until(t, "it is asked again", func() bool { return r.shop().Ready() })
}

// proves: C-2
func TestTheIssuerAloneConfiguresAProvider(t *testing.T) {
	s := newServer(t)
	s.says(map[string]any{
		"userinfo_endpoint": s.URL + "/me", "revocation_endpoint": s.URL + "/revoke", "scopes_supported": []string{"openid", "things:read"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}, "authorization_response_iss_parameter_supported": true,
	})
	r := newWorld(t, s).start(t)
	until(t, "the endpoints are known", func() bool { return r.shop().Ready() })
	p := r.shop()
	if p.AuthorizeURL.String() != s.URL+"/authorize" || p.TokenURL.String() != s.URL+"/token" || p.UserinfoURL.String() != s.URL+"/me" || p.RevocationURL.String() != s.URL+"/revoke" {
		t.Errorf("%v %v %v %v", p.AuthorizeURL, p.TokenURL, p.UserinfoURL, p.RevocationURL)
	}
	if p.AuthMethod != provider.ClientSecretBasic || len(p.ExtraScopes) != 0 {
		t.Errorf("%s %v", p.AuthMethod, p.ExtraScopes)
	}
	client := provider.NewClient(provider.ClientConfig{AllowHTTP: true})
	if !client.PromisesIssuer(t.Context(), p) {
		t.Error("C-2: iss is not demanded, though the metadata promises it")
	}
	if status, ok := r.Of("shop"); !ok || !status.Known || status.Failed != nil || status.Asked.IsZero() {
		t.Errorf("%+v", status)
	}
}

// MCP servers on Cloudflare's library have no OpenID configuration.
func TestMetadataOfRFC8414AloneIsEnough(t *testing.T) {
	s := newServer(t)
	s.place.Store(new("/.well-known/oauth-authorization-server"))
	r := newWorld(t, s).start(t)
	until(t, "the endpoints are known", func() bool { return r.shop().Ready() })
}

// Zitadel's issuer ends with a slash.
func TestIssuerThatDiffersByASlashIsNamed(t *testing.T) {
	s := newServer(t)
	s.says(map[string]any{"issuer": s.URL + "/"})
	w := newWorld(t, s)
	r := w.start(t)
	until(t, "expected and got are told", func() bool {
		status, _ := r.Of("shop")
		return status.Failed != nil && strings.Contains(status.Failed.Error(), fmt.Sprintf("expected issuer %q, got %q: they differ by the slash at the end", s.URL, s.URL+"/"))
	})
	w.issuer += "/"
	r = w.start(t)
	until(t, "with the slash the endpoints are known", func() bool { return r.shop().Ready() })
}

func TestAthdStartsWithoutTheServer(t *testing.T) {
	s := newServer(t)
	s.away.Store(true)
	w := newWorld(t, s)
	r := w.start(t)
	until(t, "it says why", func() bool {
		status, _ := r.Of("shop")
		return status.Failed != nil && strings.Contains(status.Failed.Error(), "503")
	})
	if r.shop().Ready() || r.shop().Destination() != "" {
		t.Error("the endpoints are known, of a server that is away")
	}
	s.away.Store(false)
	until(t, "it is asked again", func() bool { return r.shop().Ready() })

	// Who starts now goes by what is kept.
	s.away.Store(true)
	asked := s.asked.Load()
	second := w.start(t)
	until(t, "the second goes by what the first was told", func() bool { return second.shop().Ready() })
	if now := s.asked.Load(); now != asked {
		t.Errorf("the server was asked %d times more", now-asked)
	}
}

// proves: A-7
func TestEndpointThatMovesToAnotherHostIsNotFollowedUntilAccepted(t *testing.T) {
	s := newServer(t)
	w := newWorld(t, s)
	w.every, w.ids = time.Millisecond, []string{"shop", "depot"}
	first := w.start(t)
	second := w.start(t)
	until(t, "both know", func() bool { return first.shop().Ready() && second.shop().Ready() })
	destination := first.shop().Destination()

	s.says(map[string]any{"token_endpoint": s.URL + "/token2"})
	until(t, "another path of the same host is followed", func() bool {
		return first.shop().TokenURL.Path == "/token2" && second.shop().TokenURL.Path == "/token2"
	})
	if first.shop().Destination() != destination {
		t.Error("connections ended, though the server only moved its token endpoint by a path")
	}

	s.says(map[string]any{"token_endpoint": "http://evil.example/token", "authorization_endpoint": s.URL + "/authorize2"})
	status := func(r *replica) issuer.Status { got, _ := r.Of("shop"); return got }
	until(t, "both tell that it moved", func() bool { return len(status(first).Moves) == 1 && len(status(second).Moves) == 1 })
	move := status(first).Moves[0]
	if move.Endpoint != "token_endpoint" || move.From != s.URL+"/token2" || move.To != "http://evil.example/token" {
		t.Errorf("%+v", move)
	}
	asked := s.asked.Load()
	until(t, "it was asked again", func() bool { return s.asked.Load() > asked })
	for _, r := range []*replica{first, second} {
		if p := r.shop(); p.TokenURL.Path != "/token2" || p.AuthorizeURL.Path != "/authorize" {
			t.Errorf("the moved metadata is followed: %v %v", p.TokenURL, p.AuthorizeURL)
		}
	}
	if n := first.events.count("endpoints_moved") + second.events.count("endpoints_moved"); n != 2 { // one for each provider
		t.Errorf("%d events", n)
	}

	committed := 0
	commit := func([]issuer.Move) error { committed++; return nil }
	if err := first.Accept(t.Context(), "shop", "0123456789abcdef", commit); !errors.Is(err, issuer.ErrOther) || committed != 0 {
		t.Errorf("other metadata than was shown is accepted: %v", err)
	}
	refused := errors.New("not on record")
	if err := first.Accept(t.Context(), "shop", status(first).Digest, func([]issuer.Move) error { return refused }); !errors.Is(err, refused) || first.shop().TokenURL.Host == "evil.example" {
		t.Errorf("accepted, though it could not be recorded: %v", err)
	}
	until(t, "it is accepted", func() bool { // the record may be rewritten in between
		err := first.Accept(t.Context(), "shop", status(first).Digest, commit)
		return err == nil
	})
	until(t, "both follow", func() bool {
		return first.shop().TokenURL.Host == "evil.example" && second.providers.Current().Get("depot").TokenURL.Host == "evil.example"
	})
	if len(status(first).Moves) != 0 || first.shop().Destination() != destination {
		t.Error("it is still held back, or connections ended")
	}
	if err := first.Accept(t.Context(), "shop", "", commit); !errors.Is(err, issuer.ErrNotHeld) {
		t.Errorf("there is nothing to accept: %v", err)
	}
}

func TestMetadataThatIsTakenBackIsHeldBackNoMore(t *testing.T) {
	s := newServer(t)
	w := newWorld(t, s)
	w.every = time.Millisecond
	r := w.start(t)
	until(t, "the endpoints are known", func() bool { return r.shop().Ready() })
	s.says(map[string]any{"userinfo_endpoint": "http://other.example/me"})
	held := func() int { status, _ := r.Of("shop"); return len(status.Moves) }
	until(t, "it is held back", func() bool { return held() == 1 && r.shop().UserinfoURL == nil })
	s.says(map[string]any{"userinfo_endpoint": s.URL + "/me"})
	until(t, "it is followed", func() bool { return held() == 0 && r.shop().UserinfoURL != nil })
}

// Whoever can empty Redis has not moved what athd goes by.
func TestRunningAthdKeepsThePinWithoutItsRecord(t *testing.T) {
	s := newServer(t)
	w := newWorld(t, s)
	w.every = time.Millisecond
	r := w.start(t)
	until(t, "the endpoints are known", func() bool { return r.shop().Ready() })
	s.says(map[string]any{"token_endpoint": "http://evil.example/token"})
	w.redis.FlushAll()
	until(t, "it is held back", func() bool { status, _ := r.Of("shop"); return len(status.Moves) == 1 })
	if r.shop().TokenURL.Host == "evil.example" {
		t.Error("it is followed")
	}
}

func TestHostileMetadataIsNotTaken(t *testing.T) {
	for name, more := range map[string]map[string]any{
		"another issuer":              {"issuer": "http://other.example"},
		"a script for an endpoint":    {"authorization_endpoint": "javascript:alert(1)"},
		"a parameter of the protocol": {"authorization_endpoint": "http://login.example/authorize?redirect_uri=http://evil.example"},
		"user information":            {"token_endpoint": "http://a:b@login.example/token"},
		"no token endpoint":           {"token_endpoint": nil},
		"a list for an endpoint":      {"token_endpoint": []string{"http://login.example/token"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			w := newWorld(t, s)
			s.says(more)
			r := w.start(t)
			until(t, "it is refused", func() bool { status, _ := r.Of("shop"); return status.Failed != nil })
			if r.shop().Ready() {
				t.Error("it is taken")
			}
		})
	}
}

func TestManyReplicasAskOnce(t *testing.T) {
	s := newServer(t)
	w := newWorld(t, s)
	w.ageless.Store(true)
	var all []*replica
	for range 8 {
		all = append(all, w.start(t))
	}
	for _, r := range all {
		until(t, "each knows", func() bool { return r.shop().Ready() })
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestWrittenEndpointWins(t *testing.T) {
	s := newServer(t)
	w := newWorld(t, s)
	w.more = `, "token_endpoint": "https://elsewhere.example/token", "token_auth_method": "client_secret_post", "extra_scopes": ["openid"]`
	s.says(map[string]any{
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
		"userinfo_endpoint":                     s.URL + "/me", "scopes_supported": []string{"openid"},
	})
	r := w.start(t)
	until(t, "the endpoints are known", func() bool { return r.shop().Ready() })
	p := r.shop()
	if p.TokenURL.String() != "https://elsewhere.example/token" || p.AuthorizeURL.String() != s.URL+"/authorize" || p.AuthMethod != provider.ClientSecretPost || !p.ExtraScopes.Has("openid") {
		t.Errorf("%v %v %s %v", p.TokenURL, p.AuthorizeURL, p.AuthMethod, p.ExtraScopes)
	}
	if !strings.HasPrefix(p.Destination(), "https://elsewhere.example/token ") {
		t.Error(p.Destination())
	}
}
