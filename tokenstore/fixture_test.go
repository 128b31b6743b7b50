package tokenstore_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A release writes its fixture: go test ./tokenstore -run ^TestWriteFixture$ -write-fixture v1.2.3
var writeFixture = flag.String("write-fixture", "", "write testdata/records/NAME.json, the records as this athd writes them")

// A fixture is what an earlier athd left in Redis. Its keyset is for tests only.
type fixture struct {
	name   string
	Keyset json.RawMessage       `json:"testing_only_keyset"`
	Keys   map[string]fixtureRow `json:"keys"`
}

type fixtureRow struct {
	TTL    int64              `json:"ttl_ms"` // -1: no end
	String string             `json:"string,omitempty"`
	Sorted map[string]float64 `json:"zset,omitempty"`
}

func TestWriteFixture(t *testing.T) {
	if *writeFixture == "" {
		return
	}
	server := realredis.Start(t)
	data, err := json.MarshalIndent(writtenNow(t, backend{url: server.URL(), raw: server.Client()}), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", "records", *writeFixture+".json"), append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writtenNow is the fixture as this athd writes it into an empty server.
func writtenNow(t *testing.T, b backend) fixture {
	t.Helper()
	then := func(c *tokenstore.Config) { c.Now = func() time.Time { return fixtureTime } }
	b.keys = writeFixtureRotation(t, b, then)
	if err := writeFixtureRecords(t.Context(), b.open(t, then)); err != nil {
		t.Fatal(err)
	}
	writeFixtureStanding(t, b.revoking(t, &policy{}, then))
	writeFixtureProviders(t, b.open(t, then))
	keyset, err := b.keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out := fixture{name: "today", Keyset: keyset, Keys: map[string]fixtureRow{}}
	ctx := t.Context()
	for _, key := range b.raw.Keys(ctx, "*").Val() {
		row := fixtureRow{TTL: -1}
		if ttl := b.raw.PTTL(ctx, key).Val(); ttl > 0 {
			row.TTL = ttl.Milliseconds()
		}
		switch kind := b.raw.Type(ctx, key).Val(); kind {
		case "string":
			row.String = base64.StdEncoding.EncodeToString([]byte(b.raw.Get(ctx, key).Val()))
		case "zset":
			row.Sorted = map[string]float64{}
			for _, z := range b.raw.ZRangeWithScores(ctx, key, 0, -1).Val() {
				row.Sorted[z.Member.(string)] = z.Score
			}
		default:
			t.Fatalf("%s is a %s", key, kind)
		}
		out.Keys[key] = row
	}
	return out
}

// TestRecordsOfEarlierReleases: what an earlier athd wrote is read as it was
// meant, goes on being used, and can be rewritten.
func TestRecordsOfEarlierReleases(t *testing.T) {
	files, err := filepath.Glob("testdata/records/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no fixtures", err)
	}
	server := realredis.Start(t)
	onBoth := func(t *testing.T, f fixture) {
		t.Run("redis", func(t *testing.T) {
			testFixture(t, f, func(t *testing.T) backend { return backend{url: server.URL(), raw: server.Client()} })
		})
		t.Run("miniredis", func(t *testing.T) {
			mini := miniredis.RunT(t)
			client := redis.NewClient(&redis.Options{Addr: mini.Addr(), Protocol: 2})
			t.Cleanup(func() { client.Close() })
			testFixture(t, f, func(t *testing.T) backend { return backend{url: "redis://" + mini.Addr(), raw: client} })
		})
	}
	// What the next release must load, before it is one.
	t.Run("as this athd writes them", func(t *testing.T) {
		f := writtenNow(t, backend{url: server.URL(), raw: server.Client()})
		for _, kind := range tokenstore.StoredKinds() {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(f.Keys)), func(key string) bool { return tokenstore.KindAt(key) == kind }) {
				t.Errorf("there is no %s in it", kind)
			}
		}
		onBoth(t, f)
	})
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f := fixture{name: strings.TrimSuffix(filepath.Base(file), ".json")}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &f); err != nil {
				t.Fatal(err)
			}
			onBoth(t, f)
		})
	}
}

func testFixture(t *testing.T, f fixture, start func(*testing.T) backend) {
	for _, part := range []struct {
		name string
		test func(*testing.T, fixture, *tokenstore.Store)
	}{
		{"the keyset opens it", testFixtureReady},
		{"agents", testFixtureAgents},
		{"sessions", testFixtureSessions},
		{"grants and connections", testFixtureGrants},
		{"values used once", testFixtureOnce},
		{"the index of an agent's connections", testFixtureEnd},
		{"connections are found and ended", testFixtureConnections},
		{"suspended hosts", testFixtureHosts},
		{"what an issuer said", testFixtureIssuer},
		{"what is counted", testFixtureQuota},
		{"standing consents", testFixtureStanding},
		{"a shared connection, whose key has gone", testFixtureShared},
		{"what is to end", testFixtureEnding},
		{"run-time providers", testFixtureProviders},
	} {
		t.Run(part.name, func(t *testing.T) {
			b := start(t)
			f.load(t, &b)
			part.test(t, f, b.revoking(t, &policy{}, func(c *tokenstore.Config) { c.Now = func() time.Time { return fixtureTime.Add(time.Minute) } }))
		})
	}
}

// load puts the fixture into an emptied server.
func (f fixture) load(t *testing.T, b *backend) {
	t.Helper()
	keys, err := tokenstore.ParseKeyset(f.Keyset)
	if err != nil {
		t.Fatal(err)
	}
	b.keys = keys
	ctx := t.Context()
	if err := b.raw.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	for key, row := range f.Keys {
		if row.Sorted != nil {
			for member, score := range row.Sorted {
				if err := b.raw.ZAdd(ctx, key, redis.Z{Score: score, Member: member}).Err(); err != nil {
					t.Fatal(err)
				}
			}
		} else {
			value, err := base64.StdEncoding.DecodeString(row.String)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.raw.Set(ctx, key, value, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if row.TTL < 0 {
			continue
		}
		if err := b.raw.PExpire(ctx, key, time.Duration(row.TTL)*time.Millisecond).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func testFixtureReady(t *testing.T, f fixture, s *tokenstore.Store) {
	for range 2 { // the first one may write the canary, the second reads it
		if _, err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func testFixtureAgents(t *testing.T, f fixture, s *tokenstore.Store) {
	ctx := t.Context()
	want := fixtureAgents()
	list, err := s.Agents(ctx, "", 100, func(*tokenstore.Agent) bool { return true })
	if err != nil || len(list.Corrupt) != 0 || len(list.Agents) != len(want) {
		t.Fatalf("%d agents are listed, want %d; corrupt are %v, %v", len(list.Agents), len(want), list.Corrupt, err)
	}
	for name, a := range want {
		held, err := s.Agent(ctx, ath.AgentTag(a.ID))
		if err != nil || !reflect.DeepEqual(held.Value, a) {
			t.Fatalf("%s is %+v, %v", name, held.Value, err)
		}
		next := held.Value
		next.Suspended, next.Generation = true, next.Generation+1
		if err := s.SwapAgent(ctx, held, next); err != nil {
			t.Fatalf("%s is not suspended: %v", name, err)
		}
		if held, err = s.Agent(ctx, ath.AgentTag(a.ID)); err != nil || !reflect.DeepEqual(held.Value, next) {
			t.Fatalf("%s, suspended, is %+v, %v", name, held.Value, err)
		}
		if err := s.RemoveAgent(ctx, held); err != nil {
			t.Fatalf("%s is not removed: %v", name, err)
		}
	}
}

func testFixtureSessions(t *testing.T, f fixture, s *tokenstore.Store) {
	ctx := t.Context()
	order := []tokenstore.Phase{tokenstore.Started, tokenstore.Redeeming, tokenstore.Consented, tokenstore.Consumed}
	for name, phases := range fixturePhases {
		if name == "said" && f.name == "f1b7ae5" || slices.Contains([]string{"stands", "heals", "shown"}, name) && !f.stands() {
			continue
		}
		phase := phases[len(phases)-1]
		held, err := s.Session(ctx, fixtureTag(name))
		if err != nil || !reflect.DeepEqual(held.Value, fixtureSession(name, phase)) {
			t.Fatalf("%s is %+v, %v", name, held.Value, err)
		}
		for at := slices.Index(order, phase); at >= 0 && at+1 < len(order); at++ {
			next := fixtureSession(name, order[at+1])
			next.Upstream = "access_denied"
			if held, err = s.SwapSession(ctx, held, next); err != nil {
				t.Fatalf("%s does not go on to %s: %v", name, next.Phase, err)
			}
			if again, err := s.Session(ctx, fixtureTag(name)); err != nil || !reflect.DeepEqual(again.Value, next) {
				t.Fatalf("%s is then %+v, %v", name, again.Value, err)
			}
		}
	}
}

func testFixtureGrants(t *testing.T, f fixture, s *tokenstore.Store) {
	ctx := t.Context()
	connections := fixtureConnections()
	agent := fixtureAgents()["approved"]
	for name, g := range fixtureGrants() {
		want := g.grant
		if g.revoked {
			want.Revoked = fixtureTime
		}
		token := fixtureToken(g.connection, name)
		r, err := s.Read(ctx, token, agent.ID)
		if err != nil || r.Grant == nil || !reflect.DeepEqual(*r.Grant, want) || r.Agent == nil || !reflect.DeepEqual(*r.Agent, agent) {
			t.Fatalf("%s reads as %+v, %v", name, r, err)
		}
		switch c := connections[g.connection]; {
		case g.connection == "revoked-conn":
			if r.Connection != nil {
				t.Errorf("%s has a connection though its last grant was revoked", name)
			}
		case r.Connection == nil || !reflect.DeepEqual(*r.Connection, c):
			t.Errorf("%s has the connection %+v, want %+v", name, r.Connection, c)
		}
	}
	for name, g := range fixtureGrants() {
		token := fixtureToken(g.connection, name)
		held, err := s.Grant(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Revoke(ctx, held, fixtureTime.Add(time.Second)); err != nil {
			t.Fatalf("%s is not revoked: %v", name, err)
		}
		if r, err := s.Read(ctx, token, agent.ID); err != nil || r.Grant == nil || r.Grant.Revoked.IsZero() {
			t.Errorf("%s, revoked, reads as %+v, %v", name, r, err)
		}
	}
	// The code of the consented session is redeemed.
	token := fixtureToken("consented-conn", "new")
	g := fixtureGrants()["live"].grant
	g.Connection = token.Tag()
	if err := s.PutGrant(ctx, token, g); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Read(ctx, token, agent.ID); err != nil || r.Connection == nil || !reflect.DeepEqual(*r.Connection, connections["consented-conn"]) {
		t.Errorf("a new grant reads as %+v, %v", r, err)
	}
	if err := s.DeleteGrant(ctx, token); err != nil {
		t.Error(err)
	}
}

func testFixtureOnce(t *testing.T, f fixture, s *tokenstore.Store) {
	if first, err := s.Once(t.Context(), fixtureTag("jti"), "jti", fixtureJTI, time.Hour); first || err != nil {
		t.Errorf("a jti that was spent is taken for a new one: %v, %v", first, err)
	}
}

func testFixtureEnd(t *testing.T, f fixture, s *tokenstore.Store) {
	ended, err := s.EndConnections(t.Context(), fixtureAgentID("approved"), fixtureTime.Add(time.Minute))
	if err != nil || ended != 3 {
		t.Errorf("%d connections are ended, want 3: %v", ended, err)
	}
	for name, g := range fixtureGrants() {
		r, err := s.Read(t.Context(), fixtureToken(g.connection, name), g.grant.Agent)
		if err != nil || r.Grant == nil || r.Connection != nil || name != "expired" && r.Grant.Revoked.IsZero() {
			t.Errorf("%s then reads as %+v, %v", name, r, err)
		}
	}
}

// testFixtureConnections finds what was written without owners by the grants. The
// connection that has none is found where it has an owner.
func testFixtureConnections(t *testing.T, f fixture, s *tokenstore.Store) {
	ctx := t.Context()
	want := []ath.Tag{fixtureTag("conn"), fixtureTag("ended-conn")}
	if _, owned := f.Keys["ath:{"+string(fixtureTag("consented-conn"))+"}:owner"]; owned {
		want = []ath.Tag{want[0], fixtureTag("consented-conn"), want[1]}
	}
	agent := fixtureAgentID("approved")
	for _, q := range []tokenstore.ConnectionQuery{{}, {Agent: agent}, {User: "user-1"}, {User: "user-1", Providers: []string{"github"}}} {
		q.Limit = 2
		all, corrupt, _ := connections(t, s, q)
		if q.Agent == "" && q.User == "" {
			all = withoutLater(t, f, all)
		}
		if got := tagsOf(all); !slices.Equal(got, want) || len(corrupt) != 0 {
			t.Errorf("%+v: %v and %v, want %v", q, got, corrupt, want)
		}
		for _, c := range all {
			if c.Agent != agent || c.User != "user-1" || c.Provider != "github" {
				t.Errorf("%+v", c)
			}
		}
	}
	for _, tag := range want {
		if end, err := s.EndConnection(ctx, tag, fixtureTime.Add(time.Minute)); err != nil || !end.Was || end.Upstream != tokenstore.UpstreamQueued {
			t.Errorf("%s is not ended: %v, %v", tag, end, err)
		}
		if held, err := s.Revocation(ctx, tag); err != nil || held.Value.User != "user-1" || held.Value.Access.IsZero() { // V-5
			t.Errorf("of %s this is to be revoked: %+v, %v", tag, held.Value, err)
		}
	}
	r, err := s.Read(ctx, fixtureToken("conn", "live"), agent)
	if err != nil || r.Grant == nil || r.Grant.Revoked.IsZero() || r.Connection != nil {
		t.Errorf("then it reads as %+v, %v", r, err)
	}
}

func testFixtureHosts(t *testing.T, f fixture, s *tokenstore.Store) {
	if f.name == "f1b7ae5" {
		return
	}
	held, err := s.HostSuspensions(t.Context())
	if err != nil || !reflect.DeepEqual(held.Value, fixtureHosts()) {
		t.Fatalf("suspended are %+v, %v", held.Value, err)
	}
	if err := s.SwapHostSuspensions(t.Context(), held, held.Value[:1]); err != nil {
		t.Fatal(err)
	}
	if held, err = s.HostSuspensions(t.Context()); err != nil || !reflect.DeepEqual(held.Value, fixtureHosts()[:1]) {
		t.Errorf("then suspended are %+v, %v", held.Value, err)
	}
}

func testFixtureIssuer(t *testing.T, f fixture, s *tokenstore.Store) {
	switch f.name {
	case "f1b7ae5", "a082699", "22a341d":
		return // written before there was one
	}
	held, err := s.Issuer(t.Context(), fixtureIssuer().Issuer)
	if err != nil || !reflect.DeepEqual(held.Value, fixtureIssuer()) {
		t.Errorf("the issuer is %+v, %v", held.Value, err)
	}
}

func testFixtureQuota(t *testing.T, f fixture, s *tokenstore.Store) {
	if f.name == "f1b7ae5" {
		return
	}
	ctx := t.Context()
	full := (*tokenstore.QuotaError)(nil)
	if err := s.ReservePending(ctx, fixtureTag("another"), fixtureQuota); !errors.As(err, &full) {
		t.Errorf("a registration beyond the quota: %v", err)
	}
	if err := s.ReserveSession(ctx, fixtureTag("agent"), fixtureTag("another"), fixtureTime.Add(10*time.Minute), 1); !errors.As(err, &full) {
		t.Errorf("a session beyond the quota: %v", err)
	}
	for _, err := range []error{
		s.ReleasePending(ctx, fixtureTag("pending")), s.ReservePending(ctx, fixtureTag("another"), fixtureQuota),
		s.ReleaseSession(ctx, fixtureTag("agent"), fixtureTag("open")),
		s.ReserveSession(ctx, fixtureTag("agent"), fixtureTag("another"), fixtureTime.Add(10*time.Minute), 1),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}
