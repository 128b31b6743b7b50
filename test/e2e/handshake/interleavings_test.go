package handshake

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A crowd is agents, users and operators at two replicas, and what must be true
// of it whatever they do at once.
type crowd struct {
	*world
	bases    [2]string
	deciders [2]*authz.Decider
	agents   []*actor
	clock    atomic.Int64 // each begin and end of an action has a place of its own

	mu     sync.Mutex
	tokens []*heldToken
	ends   []ending
	whose  map[string]string // upstream tokens
}

// A heldToken is one that an agent got, of an authorization that began between two
// places.
type heldToken struct {
	agent          *actor
	user, provider string // by the id there
	text           string
	asked, began   int64
}

// An ending is of a connection, or of a user at a provider or at all.
type ending struct {
	connection, user, provider string
	began, done                int64
}

func (e *ending) means(k *heldToken) bool {
	if e.connection != "" {
		return e.connection == connectionText(k.text)
	}
	return e.user == k.user && (e.provider == "" || e.provider == k.provider)
}

func connectionText(token string) string {
	return "ath_conn_" + strings.TrimPrefix(token, "ath_tk_")[:16]
}

var crowdUsers = map[string]string{"alice": "user-1", "bob": "user-2"}

func newCrowd(t *testing.T) *crowd {
	server := miniredis.RunT(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	var stores [2]*tokenstore.Store
	for i := range stores {
		if stores[i], err = tokenstore.Open(tokenstore.Config{URL: "redis://" + server.Addr(), Keyset: keys, Timeout: 10 * time.Second}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stores[i].Close() })
	}
	c := &crowd{world: newWorld(t, func(c *settings) { c.Store = stores[0] }), whose: map[string]string{}}
	c.bases = [2]string{c.public, c.twin(func(c *settings) { c.Store = stores[1] })}
	// The world's shop has the gallery's rules.
	shop := *c.set.Get("shop")
	shop.Rules = slices.Clone(shop.Rules)
	for i := range shop.Rules {
		if shop.Rules[i].Scope == "pictures:read" {
			shop.Rules[i].Scope = "products:read"
		}
	}
	set, err := provider.NewSet(c.set.Get("gallery"), &shop)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range stores {
		c.deciders[i], err = authz.New(authz.Config{Store: s, Used: s.Used, Providers: provider.NewProviders(set), Audit: c.config.Audit, Logger: c.config.Logger})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		a := c.actor(fmt.Sprint("agent-", i))
		a.register("gallery", "pictures:read")
		if r := a.register("shop", "products:read"); r.status != 201 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		c.agents = append(c.agents, a)
	}
	return c
}

var crowdScopes = map[string]string{"gallery": "pictures:read", "shop": "products:read"}

// consent goes from authorize to a token, or to where an end stops it.
func (c *crowd) goThrough(r *rand.Rand) error {
	k := &heldToken{agent: c.agents[r.IntN(len(c.agents))], provider: []string{"gallery", "shop"}[r.IntN(2)], asked: c.clock.Add(1)}
	name := []string{"alice", "bob"}[r.IntN(2)]
	k.user = crowdUsers[name]
	opened := c.postTo(c.bases[r.IntN(2)], "/ath/authorize", k.agent.authorization(k.provider, crowdScopes[k.provider]))
	if opened.status != http.StatusOK {
		return fmt.Errorf("authorize: %s", opened.raw)
	}
	k.began = c.clock.Add(1)
	b := browser.New()
	defer b.Close()
	ctx := context.Background()
	page, err := b.Get(ctx, opened.text("authorization_url"))
	for range 4 {
		if err != nil {
			return err
		}
		switch {
		case len(page.Forms) == 0:
		case strings.Contains(page.Body, `name="password"`):
			page, err = b.Submit(ctx, page.Form().Fill("username", name).Fill("password", map[string]string{"alice": "wonderland", "bob": "builder"}[name]))
		case !athCode.MatchString(page.Body):
			page, err = b.Submit(ctx, page.Form().Click("Allow"))
		}
	}
	code := athCode.FindString(page.Body)
	if code == "" {
		return nil // the user was ended
	}
	got := c.postTo(c.bases[r.IntN(2)], "/ath/token", k.agent.exchange(opened.text("ath_session_id"), code))
	if k.text = got.text("access_token"); k.text == "" {
		if got.status >= 500 {
			return fmt.Errorf("token: %s", got.raw)
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = append(c.tokens, k)
	return nil
}

func (c *crowd) any(r *rand.Rand) *heldToken {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) == 0 {
		return nil
	}
	return c.tokens[r.IntN(len(c.tokens))]
}

func (c *crowd) end(r *rand.Rand) error {
	k := c.any(r)
	if k == nil {
		return nil
	}
	e := ending{began: c.clock.Add(1)}
	var path, body string
	if r.IntN(3) > 0 {
		e.connection = connectionText(k.text)
		path = "/ath/admin/connections/" + e.connection + "/end"
	} else {
		e.user, path = k.user, "/ath/admin/users/end"
		if r.IntN(3) > 0 {
			e.provider = k.provider
		}
		text, err := json.Marshal(map[string]string{"user_id": e.user, "provider_id": e.provider})
		if err != nil {
			return err
		}
		body = string(text)
	}
	got := c.postTo(c.bases[r.IntN(2)], path, body, "X-ATH-User-Token", adminToken)
	if got.status != http.StatusOK {
		return fmt.Errorf("%s: %d %s", path, got.status, got.raw)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.done = c.clock.Add(1)
	c.ends = append(c.ends, e)
	return nil
}

// use judges a call, and holds what must be true of the answer.
func (c *crowd) use(k *heldToken, replica int) (authz.Reason, error) {
	c.mu.Lock()
	began := c.clock.Add(1)
	dead := slices.ContainsFunc(c.ends, func(e ending) bool { return e.means(k) && k.began < e.began && e.done < began })
	c.mu.Unlock()
	request := authz.Request{
		Method: "GET", Path: "/ath/proxy/gallery/pictures/1", Provider: "gallery", Mount: "/ath/proxy/gallery/",
		Authorization: []string{"Bearer " + k.text}, AgentID: []string{k.agent.id},
	}
	if k.provider == "shop" {
		request.Path, request.Provider, request.Mount = "/ath/proxy/shop/pictures/1", "shop", "/ath/proxy/shop/"
	}
	d := c.deciders[replica].Decide(context.Background(), request)
	if !d.Allowed() {
		return d.Reason(), nil
	}
	if dead {
		return d.Reason(), fmt.Errorf("a token of %s at %s serves after its end", k.user, k.provider)
	}
	user, err := c.userOf(strings.TrimPrefix(d.Authorization().Reveal(), "Bearer "))
	if err == nil && user != k.user {
		err = fmt.Errorf("a token of %s serves with the credential of %s", k.user, user)
	}
	return d.Reason(), err
}

// userOf asks the provider whose its token is.
func (c *crowd) userOf(access string) (string, error) {
	c.mu.Lock()
	user, known := c.whose[access]
	c.mu.Unlock()
	if known {
		return user, nil
	}
	req, err := http.NewRequest("GET", c.issuer+"/userinfo", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+access)
	r := c.send(req)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whose[access] = r.text("sub")
	return r.text("sub"), nil
}

// Whatever agents, users and operators do at once, at two replicas: a token of one
// user never serves with the credential of another, and what was ended, or was
// consented to before its user's end, never serves again.
// proves: T-3, T-7, V-4
func TestNothingThatWasEndedServesAgain(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := newCrowd(t)
	var crowd sync.WaitGroup
	for worker := range uint64(6) {
		crowd.Go(func() {
			r := rand.New(rand.NewPCG(seed, worker))
			for range 60 {
				var err error
				switch n := r.IntN(10); {
				case n < 3:
					err = c.goThrough(r)
				case n < 5:
					err = c.end(r)
				default:
					if k := c.any(r); k != nil {
						_, err = c.use(k, r.IntN(2))
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	crowd.Wait()
	for range 3 { // that did not end any more
		if err := c.goThrough(rand.New(rand.NewPCG(seed, 99))); err != nil {
			t.Error(err)
		}
	}
	live := 0
	for _, k := range c.tokens {
		maybe := slices.ContainsFunc(c.ends, func(e ending) bool { return e.means(k) && k.asked < e.done })
		for replica := range c.deciders {
			reason, err := c.use(k, replica)
			if err != nil {
				t.Error(err)
			}
			if !maybe && reason != authz.Allowed {
				t.Errorf("a token of %s at %s is %s, and nobody ended it", k.user, k.provider, reason)
			}
			if reason == authz.Allowed {
				live++
			}
		}
	}
	left := map[string]bool{}
	for _, x := range c.connectionsOf(t, "") {
		left[x["connection_id"].(string)] = true
	}
	for _, k := range c.tokens {
		if reason, _ := c.use(k, 0); (reason == authz.Allowed) != left[connectionText(k.text)] {
			t.Errorf("a token is %s, and its connection is listed: %v", reason, left[connectionText(k.text)])
		}
	}
	if live == 0 || len(c.ends) == 0 || len(c.tokens) < 20 {
		t.Errorf("%d tokens, of which %d serve, and %d ends show nothing", len(c.tokens), live/2, len(c.ends))
	}
}
