package tokenstore_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// What an athd of 058ce80 and before left nothing of: standing consents, healings,
// and keys that rotate; and what it did, and no fixture of it had.

var fixtureTerms = ath.RenewalTerms{Max: 90 * 24 * time.Hour, Idle: 30 * 24 * time.Hour}

func (f fixture) stands() bool {
	return !slices.Contains([]string{"f1b7ae5", "a082699", "22a341d", "998e869", "058ce80"}, f.name)
}

// withoutLater leaves out the connections of the users who are in later fixtures.
func withoutLater(t *testing.T, f fixture, all []tokenstore.ConnectionInfo) []tokenstore.ConnectionInfo {
	t.Helper()
	n, want := len(all), 0
	if f.stands() {
		want = 2
	}
	all = slices.DeleteFunc(all, func(c tokenstore.ConnectionInfo) bool { return c.User == "user-2" || c.User == "user-3" })
	if n-len(all) != want {
		t.Errorf("%d connections of other users, want %d", n-len(all), want)
	}
	return all
}

func fixtureRenewalToken(name string) ath.RenewalToken {
	token, err := ath.ParseRenewalToken("ath_rt_" + string(fixtureTag("standing-conn")) + "_" + fixtureKey(name))
	if err != nil {
		panic(err)
	}
	return token
}

func fixtureStandingConnection() tokenstore.Connection {
	return tokenstore.Connection{
		Agent: fixtureAgentID("standing"), User: "user-2", Provider: "github",
		Access: ath.NewSecret("gho_standing"), Refresh: ath.NewSecret("ghr_standing"), Expires: fixtureTime.Add(8 * time.Hour),
		Scopes: ath.Scopes{"repo", "gist"}, Created: fixtureTime.Add(-time.Hour), Destination: "https://api.github.example",
		RefreshStatus: tokenstore.RefreshStatus{
			Refreshed: fixtureTime, RefreshExpires: fixtureTime.Add(180 * 24 * time.Hour), Narrowed: true, Subject: "sub-2",
		},
	}
}

func fixtureStandingGrant(name string) tokenstore.Grant {
	return tokenstore.Grant{
		Agent: fixtureAgentID("standing"), ClientID: "ath_standing", User: "user-2", Provider: "github", ProviderAs: "default",
		Scopes: ath.Scopes{"repo"}, Connection: fixtureTag("standing-conn"), Issued: fixtureTime, Expires: fixtureTime.Add(time.Hour),
		Generation: 2, Renewal: fixtureRenewalToken(name).Digest(),
	}
}

func fixtureRenewal(name string) tokenstore.Renewal {
	g := fixtureStandingGrant(name)
	return tokenstore.Renewal{
		Agent: g.Agent, ClientID: g.ClientID, User: g.User, Provider: g.Provider, ProviderAs: g.ProviderAs, Scopes: ath.Scopes{"repo", "gist"},
		Connection: g.Connection, Terms: fixtureTerms, Issued: fixtureTime, Used: fixtureTime, Generation: g.Generation,
		Thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
	}
}

func fixtureShared(access string) tokenstore.Connection {
	return tokenstore.Connection{
		User: "user-3", Provider: "github", Access: ath.NewSecret(access), Refresh: ath.NewSecret("ghr_" + access),
		Expires: fixtureTime.Add(8 * time.Hour), Scopes: ath.Scopes{"repo"}, Created: fixtureTime, Destination: "https://api.github.example",
	}
}

// writeFixtureRotation leaves a shared connection whose tag is of a key that was
// retired, and returns the keyset that there is then.
func writeFixtureRotation(t *testing.T, b backend, then func(*tokenstore.Config)) *tokenstore.Keyset {
	t.Helper()
	ctx, r := t.Context(), newRotation(t)
	noErr(t, b.raw.FlushAll(ctx).Err())
	b.keys = r.added
	s := b.open(t, then)
	_, err := s.Ready(ctx)
	noErr(t, err)
	ref, err := s.ShareConnection(ctx, fixtureAgentID("sharing"), fixtureShared("gho_first"), fixtureTime.Add(10*time.Minute), time.Now(), nil)
	noErr(t, err)
	noErr(t, s.PutGrant(ctx, fixtureToken(string(ref.Tag), "sharing"), tokenstore.Grant{
		Agent: fixtureAgentID("sharing"), ClientID: "ath_sharing", User: "user-3", Provider: "github", Scopes: ath.Scopes{"repo"},
		Connection: ref.Tag, Shared: true, Epoch: ref.Epoch, Issued: fixtureTime, Expires: fixtureTime.Add(time.Hour),
	}))
	noErr(t, s.UseKeyset(ctx, r.promoted))
	rewrap(t, s, tokenstore.Rewrap{})
	noErr(t, s.MarkRetired(ctx, r.old))
	noErr(t, s.UseKeyset(ctx, r.after))
	return r.after
}

func writeFixtureStanding(t *testing.T, s *tokenstore.Store) {
	t.Helper()
	ctx := t.Context()
	noErr(t, s.PutConnection(ctx, fixtureTag("standing-conn"), fixtureStandingConnection(), fixtureTime.Add(10*time.Minute)))
	for _, name := range []string{"standing", "revoked"} {
		noErr(t, s.PutRenewal(ctx, fixtureRenewalToken(name), fixtureRenewal(name), fixtureToken("standing-conn", name), fixtureStandingGrant(name)))
	}
	revoked, err := s.Renewal(ctx, fixtureRenewalToken("revoked"))
	noErr(t, err)
	noErr(t, s.EndRenewal(ctx, revoked, fixtureTime))
	value := fixtureRenewal("standing")
	state, err := s.RefreshState(ctx, value.Ref())
	noErr(t, err)
	begun, err := s.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf("ghr_standing"), Unknown: true, Lost: 1, Failed: 2, Wait: 60_000})
	noErr(t, err)
	noErr(t, s.BeginRefresh(ctx, begun, time.Minute))

	left := fixtureStandingConnection()
	_, err = s.HandRevocation(ctx, fixtureTag("left"), &left)
	noErr(t, err)
	held, err := s.Revocation(ctx, fixtureTag("left"))
	noErr(t, err)
	noErr(t, s.WaitRevocation(ctx, held, fixtureTime.Add(time.Hour)))
	noErr(t, s.EndUser(ctx, "user-4", nil, fixtureTime))
	noErr(t, s.EndUser(ctx, "user-5", []string{"github"}, fixtureTime))
}

func testFixtureStanding(t *testing.T, f fixture, s *tokenstore.Store) {
	if !f.stands() {
		return
	}
	ctx, now := t.Context(), fixtureTime.Add(time.Minute)
	for name, ended := range map[string]time.Time{"standing": {}, "revoked": fixtureTime} {
		renewal, grant := fixtureRenewal(name), fixtureStandingGrant(name)
		renewal.Revoked, grant.Revoked = ended, ended
		held, err := s.Renewal(ctx, fixtureRenewalToken(name))
		noErr(t, err)
		equal(t, held.Value, renewal)
		r, err := s.Read(ctx, fixtureToken("standing-conn", name), grant.Agent)
		noErr(t, err)
		if r.Grant == nil || r.Connection == nil || !reflect.DeepEqual(*r.Grant, grant) || !reflect.DeepEqual(*r.Connection, fixtureStandingConnection()) {
			t.Errorf("%s reads as %+v", name, r)
		}
	}
	held, err := s.Renewal(ctx, fixtureRenewalToken("standing"))
	noErr(t, err)
	info, err := s.Connection(ctx, fixtureTag("standing-conn"))
	noErr(t, err)
	equal(t, info.Standing, []tokenstore.Renewal{held.Value})
	kept, err := s.KeepDue(ctx, tokenstore.KeepStanding, now, 0, 10)
	noErr(t, err)
	equal(t, kept, []ath.Tag{fixtureTag("standing-conn")})
	state, err := s.RefreshState(ctx, held.Value.Ref())
	noErr(t, err)
	if a := state.Attempt; !state.Leased || a == nil || a.Of != ath.DigestOf("ghr_standing") || !a.Unknown || a.Lost != 1 || a.Failed != 2 || a.Wait != 60_000 {
		t.Errorf("of the refresh that is under way is known %+v", state.Attempt)
	}
	g := fixtureStandingGrant("standing")
	h := tokenstore.NewHealing(&g, g.Generation, now)
	healing, err := s.HealState(ctx, &h, fixtureTerms)
	noErr(t, err)
	slices.Sort(healing.Held)
	equal(t, healing.Held, ath.Scopes{"gist", "repo"})

	g.Issued, g.Expires = now, now.Add(time.Hour)
	noErr(t, s.Renew(ctx, held, fixtureTerms, fixtureToken("standing-conn", "again"), g))
	if !live(t, s, fixtureToken("standing-conn", "again"), g.Agent) {
		t.Error("a token that was renewed is not good")
	}
	noErr(t, s.EndRenewal(ctx, held, now))
	if live(t, s, fixtureToken("standing-conn", "again"), g.Agent) || !isEnded(t, s, fixtureRenewalToken("standing")) {
		t.Error("it does not end")
	}
	_, err = s.Connection(ctx, fixtureTag("standing-conn"))
	wantErr(t, err, tokenstore.ErrNotFound)
}

func testFixtureShared(t *testing.T, f fixture, s *tokenstore.Store) {
	if !f.stands() {
		return
	}
	ctx := t.Context()
	all, corrupt, _ := connections(t, s, tokenstore.ConnectionQuery{User: "user-3", Limit: 10})
	if len(all) != 1 || len(corrupt) > 0 || !all[0].Shared || all[0].Epoch == "" || !slices.Equal(all[0].Agents, []string{fixtureAgentID("sharing")}) {
		t.Fatalf("%+v, and %v", all, corrupt)
	}
	token := fixtureToken(string(all[0].Tag), "sharing")
	for _, access := range []string{"gho_first", "gho_second"} {
		want := fixtureShared(access)
		want.Epoch = all[0].Epoch
		r, err := s.Read(ctx, token, fixtureAgentID("sharing"))
		noErr(t, err)
		if r.Grant == nil || r.Connection == nil || !reflect.DeepEqual(*r.Connection, want) {
			t.Errorf("it reads as %+v, want %+v", r, want)
		}
		ref, err := s.ShareConnection(ctx, fixtureAgentID("another"), fixtureShared("gho_second"), fixtureTime.Add(11*time.Minute), time.Now(), nil)
		noErr(t, err)
		if ref.Tag != all[0].Tag || ref.Epoch != all[0].Epoch {
			t.Errorf("another agent's consent is at %+v", ref)
		}
	}
	gone, err := s.RetiredKeys(ctx)
	noErr(t, err)
	if len(gone) != 1 {
		t.Errorf("%d keys were retired", len(gone))
	}
}

func testFixtureEnding(t *testing.T, f fixture, s *tokenstore.Store) {
	if !f.stands() {
		return
	}
	ctx := t.Context()
	held, err := s.Revocation(ctx, fixtureTag("left"))
	noErr(t, err)
	if r := held.Value; r.User != "user-2" || !r.Known || !r.Refresh.Equal("ghr_standing") || !r.Ended.Equal(fixtureTime) {
		t.Errorf("%+v is to be revoked", r)
	}
	if due(t, s)[fixtureTag("left")] {
		t.Error("it does not wait")
	}
	noErr(t, s.WakeRevocations(ctx, "user-2"))
	if !due(t, s)[fixtureTag("left")] {
		t.Error("nothing wakes it")
	}
	for user, at := range map[string][]string{"user-4": {"github", "shop"}, "user-5": {"github"}} {
		for _, provider := range at {
			if end, err := s.UserEnd(ctx, user, provider); err != nil || !end.At.Equal(fixtureTime) {
				t.Errorf("%s was ended at %s: %v, %v", user, provider, end.At, err)
			}
		}
	}
	if end, err := s.UserEnd(ctx, "user-5", "shop"); err != nil || !end.At.IsZero() {
		t.Errorf("a user is ended at another provider: %v, %v", end.At, err)
	}
}
