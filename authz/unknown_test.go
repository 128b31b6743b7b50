package authz

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// S-10
func TestARepeatedUnknownTokenCostsOneReadASecond(t *testing.T) {
	s, r := good()
	var logs recorder
	d := newDecider(t, s, &logs)
	clock := now
	d.config.Now = func() time.Time { return clock }
	reason := func(r Request) Reason {
		decision := d.Decide(context.Background(), r)
		return decision.Reason()
	}
	stranger := r
	stranger.Authorization = []string{"Bearer " + ath.NewToken(s.token.Tag()).Secret().Reveal()}
	for range 100 {
		if got := reason(stranger); got != TokenUnknown {
			t.Fatal(got)
		}
	}
	if s.reads != 1 {
		t.Errorf("the store was asked %d times within a second", s.reads)
	}
	t.Run("each refusal is an event", func(t *testing.T) {
		if n := strings.Count(logs.String(), `"denial_reason":"token_unknown"`); n != 100 {
			t.Errorf("%d events", n)
		}
	})
	t.Run("a token of the same tag is not meant", func(t *testing.T) {
		if got := reason(r); got != Allowed {
			t.Error(got)
		}
	})
	t.Run("a token of the same slot is not meant", func(t *testing.T) {
		neighbour := s.token
		for i := 0; d.unknown.slot(neighbour.Digest()) != d.unknown.slot(s.token.Digest()) || neighbour.Digest() == s.token.Digest(); i++ {
			if neighbour = ath.NewToken(s.token.Tag()); i > 1000*unknownSlots {
				t.Fatal("no token has the same slot")
			}
		}
		other := r
		other.Authorization = []string{"Bearer " + neighbour.Secret().Reveal()}
		if got := reason(other); got != TokenUnknown {
			t.Fatal(got)
		}
		if got := reason(r); got != Allowed {
			t.Error(got)
		}
	})
	t.Run("an operator who asks is told what the store says", func(t *testing.T) {
		token := s.token
		s.token = ath.NewToken(token.Tag())
		reason(r) // which is unknown now
		s.token = token
		e, err := d.Explain(context.Background(), Question{Method: r.Method, URL: "https://gw.example" + r.Path, Token: token.Secret(), AgentID: agentID})
		if err != nil || e.Decision.Reason() != Allowed {
			t.Errorf("%s, %v", e.Decision.Reason(), err)
		}
		clock = clock.Add(unknownFor) // for what comes
	})
	t.Run("a token that is minted now is allowed at once", func(t *testing.T) {
		fresh := ath.NewToken(s.token.Tag())
		s.token = fresh
		again := r
		again.Authorization = []string{"Bearer " + fresh.Secret().Reveal()}
		if got := reason(again); got != Allowed {
			t.Error(got)
		}
	})
	t.Run("it is asked again after a second", func(t *testing.T) {
		clock, s.reads = clock.Add(unknownFor), 0
		reason(stranger)
		reason(stranger)
		if s.reads != 1 {
			t.Errorf("%d reads", s.reads)
		}
	})
	t.Run("a store that does not answer makes nothing unknown", func(t *testing.T) {
		other := r
		other.Authorization = []string{"Bearer " + ath.NewToken(s.token.Tag()).Secret().Reveal()}
		s.err = errors.New("away")
		if got := reason(other); got != StoreUnavailable {
			t.Error(got)
		}
		s.err, s.reads = nil, 0
		if got := reason(other); got != TokenUnknown || s.reads != 1 {
			t.Errorf("%s after %d reads", got, s.reads)
		}
	})
}
