package tokenstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// One suite for all servers. A backend is a fresh server and a client that
// looks at it from behind; there is no such client for the embedded store,
// which nobody else can enter.
type backend struct {
	url    string
	raw    redis.UniversalClient
	keys   *tokenstore.Keyset
	change func(*tokenstore.Config) // nil: nothing
	still  bool                     // keys do not age by themselves
}

func TestStoreOnMiniredis(t *testing.T) {
	testStore(t, func(t *testing.T) backend {
		server := miniredis.RunT(t)
		server.RequireAuth("sesame")
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: "sesame", Protocol: 2})
		t.Cleanup(func() { client.Close() })
		return backend{url: "redis://:sesame@" + server.Addr(), raw: client, still: true}
	})
}

func TestStoreOnRedis(t *testing.T) {
	server := realredis.Start(t)
	testStore(t, func(t *testing.T) backend {
		client := server.Client()
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return backend{url: server.URL(), raw: client}
	})
}

func TestStoreEmbedded(t *testing.T) {
	testStore(t, func(t *testing.T) backend { return backend{url: tokenstore.Embedded} })
}

// TestStoreOnCluster runs on two masters, so that what shares no slot is on
// another server half of the time.
func TestStoreOnCluster(t *testing.T) {
	nodes := realredis.StartCluster(t, 2)
	url := fmt.Sprintf("redis+cluster://:%s@%s", nodes[0].Password(), nodes[0].Addr())
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, Password: nodes[0].Password(), Protocol: 2})
	t.Cleanup(func() { client.Close() })
	testStore(t, func(t *testing.T) backend {
		err := client.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
			return node.FlushAll(ctx).Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		return backend{url: url, raw: client}
	})
	t.Run("the keys of one tag share one slot", func(t *testing.T) { testSlots(t, backend{url: url, raw: client}) })
}

// TestStoreOnSentinel finds the master by its Sentinels, and waits for its
// replica.
func TestStoreOnSentinel(t *testing.T) {
	w := realredis.StartWatched(t, 1)
	testStore(t, func(t *testing.T) backend {
		client := w.Servers[0].Client()
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return backend{url: w.URL(), raw: client, change: func(c *tokenstore.Config) {
			c.SentinelPassword, c.WaitReplicas = ath.NewSecret(w.SentinelPassword), 1
		}}
	})
}

func testStore(t *testing.T, start func(*testing.T) backend) {
	for _, part := range []struct {
		name string
		test func(*testing.T, backend)
		raw  bool // looks at the server from behind
	}{
		{"agents", testAgents, false},
		{"sessions", testSessions, false},
		{"grants", testGrants, false},
		{"revocation", testRevocation, false},
		{"read", testRead, false},
		{"reads at the same time", testReadBatch, false},
		{"once", testOnce, false},
		{"suspended hosts", testHosts, false},
		{"issuers", testIssuers, false},
		{"run-time providers", testProviders, false},
		{"run-time providers that many write", testProviderRaces, false},
		{"run-time providers from behind", testProvidersFromBehind, true},
		{"the connections of a provider", testProviderConnections, false},
		{"the change feed", testChanges, false},
		{"listing", testListing, false},
		{"standing consents", testRenewals, false},
		{"the ends of standing consents", testRenewalEnds, false},
		{"standing consents from behind", testRenewalsFromBehind, true},
		{"P-10: a connection with many tokens", testManyTokens, false},
		{"P-10: healing in place", testHealing, false},
		{"removal", testRemoval, false},
		{"the end of an agent's connections", testEndConnections, false},
		{"the listing of connections", testConnectionListing, false},
		{"the end of a connection", testEndConnection, false},
		{"the mark of a user's end", testUserEnd, false},
		{"what is to be revoked at the provider", testRevocations, false},
		{"the records of what is to be revoked", testRevocationRecords, true},
		{"races", testRaces, false},
		{"refresh", testRefresh, false},
		{"shared connections", testSharedConnections, false},
		{"shared connections from behind", testSharedFromBehind, true},
		{"the records of a refresh", testRefreshRecords, true},
		{"ready", testReady, false},
		{"ttl", testTTL, true},
		{"sealing", testSealing, true},
		{"a new primary key", testRewrap, true},
		{"a new primary key beside writers", testRewrapBesideWriters, true},
		{"V-4: a rewrap that is overtaken", testRewrapOvertaken, true},
		{"T-7: a shared connection through rotations", testSharedThroughRotations, true},
		{"a rewrap waits", testRewrapWaits, true},
		{"a rewrap that is interrupted", testRewrapInterrupted, true},
		{"a rewrap of what does not open", testRewrapOdd, true},
		{"V-4: marks of users' ends keep a key", testMarksKeepAKey, true},
		{"copied records", testCopied, true},
		{"the index of an agent's connections", testConnectionsIndex, true},
		{"the index of a user's connections", testConnectionIndex, true},
		{"a corrupt record is listed", testListingCorrupt, true},
		{"no secret is stored in the clear", testNoPlaintext, true},
		{"the last grant takes the connection with it", testLastGrant, true},
	} {
		t.Run(part.name, func(t *testing.T) {
			b := start(t)
			if part.raw && b.raw == nil {
				return // nothing to look at
			}
			b.keys = newKeyset(t)
			part.test(t, b)
		})
	}
}

func newKeyset(t testing.TB) *tokenstore.Keyset {
	t.Helper()
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// open opens a store on b that is closed with the test. Its timeout is long:
// the machine may be busy, and deadlines have tests of their own.
func (b backend) open(t testing.TB, change ...func(*tokenstore.Config)) *tokenstore.Store {
	t.Helper()
	c := tokenstore.Config{URL: b.url, Keyset: b.keys, Timeout: 10 * time.Second}
	for _, f := range append([]func(*tokenstore.Config){b.change}, change...) {
		if f != nil {
			f(&c)
		}
	}
	s, err := tokenstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// The records of one agent that went all the way, with every field set.
type flow struct {
	agent      tokenstore.Agent
	sessionID  ath.SessionID
	session    tokenstore.Session
	token      ath.Token
	connection tokenstore.Connection
	grant      tokenstore.Grant
	secrets    map[string]string // all that must not be found in the store
}

// newFlow makes one up, at the present time, without the fractions that some
// clock might lose.
func newFlow(t testing.TB) flow {
	t.Helper()
	id, err := ath.ParseAgentID("https://agents.example/"+rand.Text(), false)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	client, secret := ath.NewClientID(id), ath.NewClientSecret()
	sessionID, connection := ath.NewSessionID(), ath.NewTag()
	state, code, verifier, browser := ath.NewState(sessionID.Tag()), ath.NewCode(), ath.NewKey(), ath.NewKey()
	token := ath.NewToken(connection)
	access, refresh := "gho_"+rand.Text(), "ghr_"+rand.Text()
	f := flow{sessionID: sessionID, token: token}
	f.agent = tokenstore.Agent{
		ID: id.String(), ClientID: client.String(), SecretDigest: ath.DigestOf(secret.Reveal()),
		Name: "Travel agent", Developer: tokenstore.Developer{Name: "Dev <&> Söhne", ID: "dev-1", Contact: "a@b.example"},
		Purpose: "to book", RedirectURIs: []string{"https://agents.example/cb"},
		Approvals: []tokenstore.Approval{
			{Provider: "github", Approved: ath.Scopes{"repo"}, Denied: ath.Scopes{"admin"}, DenialReason: "too much", OperatorDenied: ath.Scopes{"admin"}},
			{Provider: "shop", Pending: ath.Scopes{"orders:write"}},
		},
		ApprovalExpires: now.Add(90 * 24 * time.Hour), Generation: 3, Registered: now,
	}
	f.session = tokenstore.Session{
		ID: sessionID.Secret(), State: state.Digest(), AgentID: id.String(), ClientID: client.String(),
		Provider: "github", ProviderAs: "default", Requested: ath.Scopes{"repo", "gist"},
		AgentState: "agent's own " + rand.Text(), RedirectURI: "https://agents.example/cb", CallbackURL: "https://gw.example/ath/callback",
		Resource: "https://api.example", Verifier: verifier, BrowserKey: browser, Consent: "page",
		Phase: tokenstore.Consented, User: "u1", Consented: ath.Scopes{"repo"}, Connection: connection,
		Code: ath.DigestOf(code.Reveal()), BadCodes: 2, Created: now, Expires: now.Add(10 * time.Minute),
	}
	f.connection = tokenstore.Connection{
		Agent: id.String(), User: "u1", Provider: "github", Access: ath.NewSecret(access), Refresh: ath.NewSecret(refresh),
		Expires: now.Add(8 * time.Hour), Scopes: ath.Scopes{"repo"}, Created: now,
	}
	f.grant = tokenstore.Grant{
		Agent: id.String(), ClientID: client.String(), User: "u1", Provider: "github", Scopes: ath.Scopes{"repo"},
		Connection: connection, Issued: now, Expires: now.Add(time.Hour), Thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Generation: 3,
	}
	f.secrets = map[string]string{
		"client secret": secret.Reveal(), "session id": sessionID.Secret().Reveal(), "state": state.Secret().Reveal(),
		"code": code.Reveal(), "verifier": verifier.Reveal(), "browser key": browser.Reveal(), "ATH token": token.Secret().Reveal(),
		"access token": access, "refresh token": refresh, "agent's state": f.session.AgentState,
	}
	return f
}

// store writes all records of the flow.
func (f flow) store(t testing.TB, s *tokenstore.Store) {
	t.Helper()
	ctx := t.Context()
	for _, err := range []error{
		s.CreateAgent(ctx, f.agent),
		s.CreateSession(ctx, f.sessionID.Tag(), f.session),
		s.PutConnection(ctx, f.token.Tag(), f.connection, f.session.Expires),
		s.PutGrant(ctx, f.token, f.grant),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}
