package tokenstore_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// An operator shortens the terms, an agent falls idle, another one goes on with the
// connection that they share, and the first one's access is ended. Longer terms then
// bring nothing back.
// proves: V-6
func TestWhatWasEndedUnderShorterTermsStaysEnded(t *testing.T) {
	short := ath.RenewalTerms{Max: 24 * time.Hour, Idle: time.Hour}
	for name, end := range map[string]func(context.Context, *tokenstore.Store, *flow) error{
		"the agent's connections": func(ctx context.Context, s *tokenstore.Store, f *flow) error {
			_, err := s.EndConnections(ctx, f.agent.ID, time.Time{})
			return err
		},
		"the connection": func(ctx context.Context, s *tokenstore.Store, f *flow) error {
			_, err := s.EndConnection(ctx, f.token.Tag(), time.Time{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var ahead atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())).UTC() }
			s, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Now: now})
			noErr(t, err)
			defer s.Close()
			use := func(f *flow, renewal ath.RenewalToken, today ath.RenewalTerms) error {
				held, err := s.Renewal(t.Context(), renewal)
				noErr(t, err)
				g := f.grant
				g.Renewal, g.Issued, g.Expires = renewal.Digest(), now(), now().Add(time.Hour)
				return s.Renew(t.Context(), held, today, ath.NewToken(f.token.Tag()), g)
			}
			user := "user " + string(ath.NewTag())
			idle, busy := shared(t, user), shared(t, user)
			idle.share(t, s, time.Now())
			first := idle.standing(t, s)
			busy.share(t, s, time.Now())
			second := busy.standing(t, s)
			ahead.Add(int64(time.Hour))
			noErr(t, use(&idle, first, short))
			for range 4 {
				ahead.Add(int64(30 * time.Minute))
				noErr(t, use(&busy, second, short))
			}
			noErr(t, end(t.Context(), s, &idle))
			if name == "the connection" { // and the user consents anew for the other one
				busy.grant.Renewal = ath.Digest{}
				busy.share(t, s, time.Now())
			}
			held, err := s.Renewal(t.Context(), first)
			noErr(t, err)
			if held.Value.Revoked.IsZero() {
				until, _ := held.Value.Ends(standingTerms)
				t.Errorf("it was not ended, and gives tokens again until %v: %v", until, use(&idle, first, standingTerms))
			}
		})
	}
}

// What an agent can renew its access by today is kept alive, and not what it could
// renew it by once.
func TestWhatStandsTodayIsByTheShorterTerms(t *testing.T) {
	at := time.Now()
	info := tokenstore.ConnectionInfo{Standing: []tokenstore.Renewal{
		{Terms: standingTerms, Issued: at, Used: at.Add(time.Hour)}, {Terms: standingTerms, Issued: at, Used: at},
	}}
	for idle, want := range map[time.Duration]time.Time{
		0: {}, 2 * time.Hour: at.Add(3 * time.Hour), 2 * standingTerms.Idle: at.Add(time.Hour + standingTerms.Idle),
	} {
		if got := info.StandsUntil(ath.RenewalTerms{Max: standingTerms.Max, Idle: idle}); !got.Equal(want) {
			t.Errorf("idle %v: %v, want %v", idle, got, want)
		}
	}
}
