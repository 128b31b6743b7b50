package handshake

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// O-1: operators see which consents stand, whose they are and when they end, by the
// shorter of what the user was shown and what is configured today.
// proves: T-8
func TestOperatorsSeeWhichConsentsStand(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t, func(s *settings) { s.TokenTTL = 10 * time.Minute })
	a, text := w.live(t, "a")
	w.live(t, "b")
	token, err := ath.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	held, err := w.store.Grant(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	renewal, grant, at := ath.NewRenewalToken(token.Tag()), held.Value, w.now().UTC()
	grant.Renewal = renewal.Digest()
	if err := w.store.PutRenewal(t.Context(), renewal, tokenstore.Renewal{
		Agent: a.id, ClientID: a.clientID, User: grant.User, Provider: "gallery", Scopes: grant.Scopes, Connection: token.Tag(),
		Issued: at, Used: at, Terms: ath.RenewalTerms{Max: 90 * day, Idle: 30 * day},
	}, ath.NewToken(token.Tag()), grant); err != nil {
		t.Fatal(err)
	}
	gallery := w.config.Providers.Current().Get("gallery")
	ends := func(d time.Duration) string { return at.Add(d).Format(time.RFC3339) }
	for _, test := range []struct {
		today            ath.RenewalTerms
		until, idleUntil string
	}{
		{ath.RenewalTerms{Max: 90 * day, Idle: 30 * day}, ends(90 * day), ends(30 * day)},
		{ath.RenewalTerms{Max: 365 * day, Idle: 365 * day}, ends(90 * day), ends(30 * day)}, // longer than was shown
		{ath.RenewalTerms{Max: 60 * day, Idle: 10 * day}, ends(60 * day), ends(10 * day)},
		{ath.RenewalTerms{}, "", ""},
	} {
		gallery.Renewal = test.today
		listed := w.connectionsOf(t, "agent="+a.clientID)
		if len(listed) != 1 {
			t.Fatal(listed)
		}
		stand, _ := listed[0]["renewals"].([]any)
		if test.until == "" {
			if len(stand) > 0 {
				t.Errorf("with renewals off: %v", stand)
			}
			continue
		}
		if len(stand) != 1 {
			t.Fatalf("%v: %v", test.today, listed)
		}
		one := stand[0].(map[string]any)
		if one["agent_id"] != a.id || one["until"] != test.until || one["idle_until"] != test.idleUntil || one["last_used"] != ends(0) || join(one["scopes"]) != "pictures:read" {
			t.Errorf("%v: %v", test.today, one)
		}
	}

	gallery.Renewal = ath.RenewalTerms{Max: 90 * day, Idle: 30 * day}
	w.pass(15 * time.Minute) // no ATH token lives
	states := map[string]any{}
	for _, c := range w.connectionsOf(t, "") {
		states[c["agent_id"].(string)] = c["state"]
	}
	if states[a.id] != "standing" || len(states) != 1 {
		t.Errorf("with no token left: %v", states)
	}
	w.pass(31 * day)
	if left := w.connectionsOf(t, ""); len(left) != 0 {
		t.Errorf("unused for longer than it may be: %v", left)
	}
}
