package tokenstore

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// Records with every field set, and no two fields the same.
var (
	wholeTime  = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	wholeAgent = Agent{
		ID: "https://a.example/x.json", ClientID: "c", SecretDigest: ath.DigestOf("s"), Name: "é <&>", Developer: Developer{"n", "i", "k"}, Purpose: "p",
		RedirectURIs: []string{"r"}, Approvals: []Approval{{"q", ath.Scopes{"1"}, ath.Scopes{"2"}, ath.Scopes{"3"}, "why", ath.Scopes{"4"}}},
		ApprovalExpires: wholeTime, Suspended: true, Generation: 3, Registered: wholeTime.Add(1),
	}
	wholeSession = Session{
		ID: ath.NewSecret("a"), State: ath.DigestOf("b"), AgentID: "https://a.example/x.json", ClientID: "d", Provider: "e", ProviderAs: "f", Requested: ath.Scopes{"g"},
		AgentState: "h", RedirectURI: "i", CallbackURL: "j", Resource: "k", Verifier: ath.NewSecret("l"), BrowserKey: ath.NewSecret("m"), Consent: "n",
		Phase: Started, User: "o", Consented: ath.Scopes{"p"}, Connection: "q", Shared: true, Epoch: "t", Code: ath.DigestOf("r"), BadCodes: 2, Upstream: "s",
		Shown:   map[string]ath.RenewalTerms{"u": {Max: 2 * time.Hour, Idle: 2 * time.Minute}},
		Renewal: ath.RenewalTerms{Max: time.Hour, Idle: time.Minute}, Heals: true, Generation: 3,
		Destination: "dest", Bound: "bound", Created: wholeTime, Expires: wholeTime.Add(1),
	}
	wholeGrant = Grant{
		Agent: "https://a.example/x.json", ClientID: "b", User: "c", Provider: "d", Scopes: ath.Scopes{"e"}, Connection: "f", Shared: true, Epoch: "h",
		Issued: wholeTime, Expires: wholeTime.Add(1), Revoked: wholeTime.Add(2), Thumbprint: "g", Generation: 3, Renewal: ath.DigestOf("i"), ProviderAs: "j",
	}
	wholeRenewal = Renewal{
		Agent: "https://a.example/x.json", ClientID: "b", User: "c", Provider: "d", ProviderAs: "e", Scopes: ath.Scopes{"f"}, Connection: "g", Shared: true, Epoch: "h",
		Terms: ath.RenewalTerms{Max: time.Hour, Idle: time.Minute}, Issued: wholeTime, Used: wholeTime.Add(1), Revoked: wholeTime.Add(2), Thumbprint: "i", Generation: 3,
	}
	wholeConnection = Connection{
		Agent: "https://a.example/x.json", User: "b", Provider: "c", Access: ath.NewSecret("d"), Refresh: ath.NewSecret("e"), Expires: wholeTime,
		Scopes: ath.Scopes{"f"}, Created: wholeTime.Add(1), Ended: true, Destination: "g", Epoch: "i", Bound: "j",
		RefreshStatus: RefreshStatus{Refreshed: wholeTime.Add(2), RefreshExpires: wholeTime.Add(3), Refused: wholeTime.Add(4), RefusedFor: "h", TriedAgain: true, Narrowed: true},
	}
)

// Every field of a record is stored: one without a tag of its own, or with
// another's, does not come back.
func TestWholeRecordsComeBack(t *testing.T) {
	comesBack(t, wholeAgent, encodeAgent, decodeAgent)
	comesBack(t, wholeSession, encodeSession, decodeSession)
	comesBack(t, wholeGrant, encodeGrant, decodeGrant)
	comesBack(t, wholeRenewal, encodeRenewal, decodeRenewal)
	comesBack(t, wholeConnection, encodeConnection, decodeConnection)
}

func comesBack[T any](t *testing.T, record T, encode func(T, extra) ([]byte, error), decode func([]byte) (T, extra, error)) {
	t.Helper()
	for field, value := range reflect.ValueOf(record).Fields() {
		if value.IsZero() {
			t.Errorf("%T.%s is not set here", record, field.Name)
		}
	}
	x := extra(`{"later":{"b":"\u003c<","a":1e400}}`)
	written, err := encode(record, x)
	if err != nil {
		t.Fatal(err)
	}
	got, gotX, err := decode(written)
	if err != nil || !reflect.DeepEqual(got, record) || string(gotX) != string(x) {
		t.Errorf("%s\nis read as %+v with x %s, %v", written, got, gotX, err)
	}
}

// A member that this athd does not know may restrict, wherever it stands; x
// does not, and must be an object.
func TestUnknownMembersAreRefused(t *testing.T) {
	for _, record := range []string{
		`{"new":1}`, `{"agent":"a","new":null}`, `{"Agent":"a"}`, `{"X":{}}`, `{"x":null}`, `{"x":1}`, `{"x":[]}`, `{"x":"{}"}`, `{"x":{"a":1,"a":2}}`,
		`{"x":{},"x":{}}`, `{"approvals":[{"p":"p","new":1}]}`, `{"dev":{"new":1}}`, `{"approvals":[{"p":"p","x":{}}]}`, `{}{}`, `{} x`, "",
	} {
		for kind, decode := range map[kind]func([]byte) error{
			agentKind:      func(b []byte) error { _, _, err := decodeAgent(b); return err },
			sessionKind:    func(b []byte) error { _, _, err := decodeSession(b); return err },
			grantKind:      func(b []byte) error { _, _, err := decodeGrant(b); return err },
			renewalKind:    func(b []byte) error { _, _, err := decodeRenewal(b); return err },
			connectionKind: func(b []byte) error { _, _, err := decodeConnection(b); return err },
		} {
			if err := decode([]byte(record)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s as %s: %v", record, kind, err)
			}
		}
	}
}

// What a newer athd keeps in x stays when this one rewrites the record.
func TestRewritingCarriesExtraMembersOver(t *testing.T) {
	s, err := Open(Config{URL: Embedded, Now: func() time.Time { return wholeTime }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx := t.Context()
	const x = `{"later":{"b":"\u003c<","a":1e400},"é":[]}`
	put := func(kind kind, key string, record []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := s.keys.seal(kind, key, record)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.server.client().Set(ctx, key, raw, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(t *testing.T, kind kind, key string, member string) {
		t.Helper()
		raw, err := s.server.client().Get(context.Background(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := s.keys.open(kind, key, raw); err != nil || !strings.Contains(string(plain), member) || strings.Count(string(plain), `"x":`+x) != 1 {
			t.Errorf("the %s record is %s, %v; want it with %s and x %s", kind, plain, err, member, x)
		}
	}

	t.Run("an agent is suspended", func(t *testing.T) {
		a := wholeAgent
		a.Suspended = false
		key, _ := agentKey(ath.AgentTag(a.ID))
		record, err := encodeAgent(a, extra(x))
		put(agentKind, key, record, err)
		held, err := s.Agent(ctx, ath.AgentTag(a.ID))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SwapAgent(ctx, held, wholeAgent); err != nil {
			t.Fatal(err)
		}
		holds(t, agentKind, key, `"suspended":true`)
	})
	t.Run("a session moves on, and ends", func(t *testing.T) {
		tag := ath.NewTag()
		key, _ := sessionKey(tag)
		session := wholeSession
		session.Destination, session.Bound = "", "" // they are in x
		record, err := encodeSession(session, extra(x))
		put(sessionKind, key, record, err)
		held, err := s.Session(ctx, tag)
		if err != nil {
			t.Fatal(err)
		}
		for _, phase := range []Phase{Redeeming, Consented, Consumed} {
			next := held.Value
			next.Phase = phase
			if held, err = s.SwapSession(ctx, held, next); err != nil {
				t.Fatal(err)
			}
			holds(t, sessionKind, key, `"phase":"`+string(phase)+`"`)
		}
	})
	t.Run("a grant is revoked", func(t *testing.T) {
		token := ath.NewToken(ath.NewTag())
		keys, err := keysOf(token)
		if err != nil {
			t.Fatal(err)
		}
		g := wholeGrant
		g.Connection, g.Revoked, g.ProviderAs = token.Tag(), time.Time{}, ""
		record, err := encodeGrant(g, extra(x))
		put(grantKind, keys.grant, record, err)
		held, err := s.Grant(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Revoke(ctx, held, wholeTime); err != nil {
			t.Fatal(err)
		}
		holds(t, grantKind, keys.grant, `"rev":"2026`)
	})
	t.Run("a renewal is used, and revoked", func(t *testing.T) {
		token := ath.NewToken(ath.NewTag())
		renewal := ath.NewRenewalToken(token.Tag())
		key, err := renewalKey(token.Tag(), renewal.Digest().String())
		if err != nil {
			t.Fatal(err)
		}
		r, g := wholeRenewal, wholeGrant
		r.Connection, r.Revoked, r.Used = token.Tag(), time.Time{}, wholeTime.Add(-time.Hour)
		g.Agent, g.User, g.Provider, g.Epoch, g.Connection, g.Revoked, g.Renewal = r.Agent, r.User, r.Provider, r.Epoch, token.Tag(), time.Time{}, renewal.Digest()
		record, err := encodeRenewal(r, extra(x))
		put(renewalKind, key, record, err)
		keys, err := keysOf(token)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.server.client().Set(ctx, keys.connection, "a connection", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		held, err := s.Renewal(ctx, renewal)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Renew(ctx, held, r.Terms, token, g); err != nil {
			t.Fatal(err)
		}
		holds(t, renewalKind, key, `"used":"2026-01-02T03:04:05`)
		if held, err = s.Renewal(ctx, renewal); err != nil {
			t.Fatal(err)
		}
		if err := s.EndRenewal(ctx, held, wholeTime); err != nil {
			t.Fatal(err)
		}
		holds(t, renewalKind, key, `"rev":"2026`)
	})
	t.Run("another host is suspended", func(t *testing.T) {
		key, _ := hostsKey()
		put(hostsKind, key, []byte(`[{"hosts":"a.example","by":"ops","at":"2026-01-02T03:04:05Z","x":`+x+`}]`), nil)
		held, err := s.HostSuspensions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		other, err := ath.ParseHostPattern("*.b.example")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SwapHostSuspensions(ctx, held, append(held.Value, HostSuspension{Hosts: other})); err != nil {
			t.Fatal(err)
		}
		holds(t, hostsKind, key, `"*.b.example"`)
	})
	t.Run("a connection is read for a decision", func(t *testing.T) {
		token := ath.NewToken(ath.NewTag())
		keys, err := keysOf(token)
		if err != nil {
			t.Fatal(err)
		}
		record, err := encodeGrant(wholeGrant, nil)
		put(grantKind, keys.grant, record, err)
		if record, err = encodeConnection(Connection{Agent: wholeGrant.connectionAgent(), User: wholeGrant.User, Provider: wholeGrant.Provider, Epoch: wholeGrant.Epoch}, extra(x)); err != nil {
			t.Fatal(err)
		}
		raw, err := s.keys.seal(connectionKind, keys.connection, record, wholeGrant.Ref().binding()...)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.server.client().Set(ctx, keys.connection, raw, redis.KeepTTL).Err(); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Read(ctx, token, wholeGrant.Agent); err != nil || r.Connection == nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
