package replicas

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// sealedByAthd are the kinds that a rewrap may find done, and why. Every other kind
// that tokenstore seals is to be among what was sealed again: whoever adds one stores
// a record of it in preload, or says here why that cannot be.
var sealedByAthd = map[string]string{
	"canary":  "each athd seals it again by itself, once another key seals",
	"retired": "and with it the list of retired keys",
}

// everyKind wants that records of every kind were sealed again, and are there, sealed
// with the key that seals now.
func everyKind(t *testing.T, rewrapped, status *keysPrinted) {
	t.Helper()
	kinds := slices.Concat(tokenstore.SealedKinds(), slices.Sorted(maps.Keys(sealedByAthd)))
	at := slices.IndexFunc(status.Keys, func(k keyPrinted) bool { return k.Primary })
	if at < 0 {
		t.Fatalf("no key seals: %+v", status.Keys)
	}
	now := status.Keys[at].Records
	for _, kind := range kinds {
		if rewrapped.Records[kind] == 0 && sealedByAthd[kind] == "" {
			t.Errorf("no %s was sealed again: %v", kind, rewrapped.Records)
		}
		if now[kind] == 0 {
			t.Errorf("after the rewrap there is no %s: %v", kind, now)
		}
	}
	for _, there := range []map[string]int{rewrapped.Records, now} {
		for kind := range there {
			if !slices.Contains(kinds, kind) {
				t.Errorf("%s is sealed, and neither among SealedKinds nor known here", kind)
			}
		}
	}
	if rewrapped.Indexes == 0 || rewrapped.Shared == 0 {
		t.Errorf("completed %d indexes of users, and made %d shared connections findable", rewrapped.Indexes, rewrapped.Shared)
	}
	t.Logf("rewrapped %v, %d indexes, %d shared connections", rewrapped.Records, rewrapped.Indexes, rewrapped.Shared)
	t.Logf("status: key %d seals, and has sealed %v", status.Keys[at].ID, now)
}

// queued has what is left of each connection wait to be revoked.
type queued struct{}

func (queued) Judge(ath.Tag, *tokenstore.Connection) tokenstore.Upstream {
	return tokenstore.UpstreamQueued
}
func (queued) Ended(tokenstore.ConnectionRef, tokenstore.Upstream) {}

// publishIssuer serves the metadata of an issuer, and returns its name.
func publishIssuer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := "http://" + r.Host
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// appOf is an app of whose OAuth server the issuer alone is configured.
func appOf(issuer string) string {
	return fmt.Sprintf(`{app_id: learnt, hosts: [learnt.example], upstream: %q, available_scopes: ["products:read"], oauth: {issuer: %q, allow_private_issuer: true, client_id: athd, client_secret: %s}}`,
		issuer, issuer, stage.Secret)
}

// learn waits until one of the two athd has written down what an issuer says.
func learn(t *testing.T, look *tokenstore.Store, issuer string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		held, err := look.Issuer(t.Context(), issuer)
		switch {
		case err != nil:
			t.Fatal(err)
		case held.Value.Accepted != "":
			return
		case time.Now().After(end):
			t.Fatal("no athd has written down what the issuer says")
		}
	}
}

// rotatedBefore leaves what a rotation leaves behind: the key of before is among the
// retired, and a record leads to a connection which a user's agents share, below the
// tag that the key gave it.
func (r *rotating) rotatedBefore(t *testing.T, look *tokenstore.Store) {
	t.Helper()
	ctx, g := t.Context(), r.like(t, look)
	added, former, err := r.Keyset.Add()
	if err != nil {
		t.Fatal(err)
	}
	first, err := added.Promote(former)
	if err != nil {
		t.Fatal(err)
	}
	before := r.lookWith(t, first)
	defer before.Close()
	c := tokenstore.Connection{
		User: "stored with a key of before", Provider: g.Provider, Destination: "https://as.example/token athd https://api.example",
		Access: ath.NewSecret("stored"), Created: time.Now(),
	}
	ref, err := before.ShareConnection(ctx, g.Agent, c, time.Now().Add(time.Hour), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	g.User, g.Connection, g.Shared, g.Epoch = c.User, ref.Tag, true, ref.Epoch
	if err := before.PutGrant(ctx, ath.NewToken(ref.Tag), g); err != nil {
		t.Fatal(err)
	}
	then := r.lookWith(t, added)
	defer then.Close()
	done, err := then.Rewrap(ctx, tokenstore.Rewrap{})
	if err == nil && (done.Shared != 1 || done.Unopenable > 0) {
		err = fmt.Errorf("a rotation did %+v", done)
	}
	if err == nil {
		err = look.MarkRetired(ctx, former)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// like is a grant, to make others like it.
func (r *rotating) like(t *testing.T, look *tokenstore.Store) tokenstore.Grant {
	t.Helper()
	token, err := ath.ParseToken(r.callers[0].code)
	if err != nil {
		t.Fatal(err)
	}
	held, err := look.Grant(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return held.Value
}

// preload stores agents with a connection and a token each, that nobody uses, and
// beside what handshakes leave a record of each of the other kinds.
func (r *rotating) preload(t *testing.T, look *tokenstore.Store, n int) {
	t.Helper()
	like, now := r.like(t, look), time.Now()
	for i := range n {
		tag, g := ath.NewTag(), like
		g.Agent, g.User, g.Connection, g.Shared, g.Epoch = fmt.Sprintf("https://stored.example/%d.json", i), fmt.Sprint("stored ", i), tag, false, ""
		c := tokenstore.Connection{Agent: g.Agent, User: g.User, Provider: g.Provider, Access: ath.NewSecret("stored"), Created: now}
		for _, err := range []error{
			look.CreateAgent(t.Context(), tokenstore.Agent{ID: g.Agent, ClientID: g.ClientID, ApprovalExpires: now.Add(time.Hour), Registered: now}),
			look.PutConnection(t.Context(), tag, c, now.Add(time.Hour)),
			look.PutGrant(t.Context(), ath.NewToken(tag), g),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if i == 0 {
			beginRefresh(t, look, tag, &c)
			queueRevocation(t, look, &c)
			suspendHost(t, look)
			addProvider(t, look)
		}
	}
}

// addProvider leaves a provider that an operator added while athd runs.
func addProvider(t *testing.T, look *tokenstore.Store) {
	t.Helper()
	held, err := look.RuntimeProvider(t.Context(), "added")
	if err == nil {
		_, err = look.SwapRuntimeProvider(t.Context(), held, tokenstore.RuntimeProvider{
			ID: "added", Created: time.Now(), CreatedBy: "tests",
			Config: ath.NewSecret(`{"display_name": "Added", "available_scopes": ["a"], "client_id": "c", "client_secret": "s", "api_base_url": "https://api.example", "authorize_endpoint": "https://login.example/a", "token_endpoint": "https://login.example/t"}`),
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// beginRefresh leaves the note on a refresh that nobody ends, as an athd that is killed.
func beginRefresh(t *testing.T, look *tokenstore.Store, tag ath.Tag, c *tokenstore.Connection) {
	t.Helper()
	state, err := look.RefreshState(t.Context(), tokenstore.ConnectionRef{Tag: tag, Agent: c.Agent, User: c.User, Provider: c.Provider})
	if err != nil {
		t.Fatal(err)
	}
	begun, err := look.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf("stored"), Unknown: true, Wait: 60_000})
	if err == nil {
		err = look.BeginRefresh(t.Context(), begun, time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// queueRevocation queues what is left of a connection at a provider that is not
// configured any more, so that nobody takes it for a day.
func queueRevocation(t *testing.T, look *tokenstore.Store, c *tokenstore.Connection) {
	t.Helper()
	dead, tag := *c, ath.NewTag()
	dead.Provider = "taken-away"
	if _, err := look.HandRevocation(t.Context(), tag, &dead); err != nil {
		t.Fatal(err)
	}
	held, err := look.Revocation(t.Context(), tag)
	if err == nil {
		err = look.WaitRevocation(t.Context(), held, time.Now().Add(time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func suspendHost(t *testing.T, look *tokenstore.Store) {
	t.Helper()
	hosts, err := look.HostSuspensions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pattern, err := ath.ParseHostPattern("evil.example")
	if err == nil {
		err = look.SwapHostSuspensions(t.Context(), hosts, []tokenstore.HostSuspension{{Hosts: pattern, By: "tests", Since: time.Now()}})
	}
	if err != nil {
		t.Fatal(err)
	}
}
