package authz

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ratelimit"
)

// limited returns a Decider that lets a grant make three calls a minute, by a clock
// that the test moves.
func limited(t *testing.T, s *stored) (*Decider, *time.Time, *recorder) {
	clock, logs := now, new(recorder)
	d := newDecider(t, s, logs)
	d.config.Now = func() time.Time { return clock }
	d.LimitCalls(ratelimit.Rate{N: 3, Per: time.Minute})
	return d, &clock, logs
}

// decide makes n calls, and returns how many passed.
func decide(t *testing.T, d *Decider, r Request, n int) (passed int) {
	t.Helper()
	for range n {
		switch got := d.Decide(t.Context(), r); got.Reason() {
		case Allowed:
			passed++
		case RateLimited:
		default:
			t.Fatalf("%s", got.Reason())
		}
	}
	return passed
}

// proves: P-12, E-1
func TestCallsBeyondTheLimitOfAGrantAreRefused(t *testing.T) {
	s, r := good()
	d, clock, _ := limited(t, s)
	if got := decide(t, d, r, 10); got != 3 {
		t.Fatalf("%d calls passed, want 3", got)
	}
	refused := d.Decide(t.Context(), r)
	e := refused.Refusal()
	if refused.RetryAfter != 20*time.Second || e.Code != ath.RateLimited || e.Status() != 429 || e.Details[ath.RetryDetail] != 20 || !refused.Authorization().IsZero() {
		t.Fatalf("%v in %v", e, refused.RetryAfter)
	}
	*clock = clock.Add(20 * time.Second)
	if got := decide(t, d, r, 10); got != 1 {
		t.Errorf("when it was time, %d calls passed, want 1", got)
	}
}

// proves: P-12
func TestACallThatIsRefusedAnywayIsNotCounted(t *testing.T) {
	for _, c := range refusals() {
		s, r := good()
		bad := r
		c.break_(s, &bad)
		d, _, _ := limited(t, s)
		for range 5 {
			if got := d.Decide(t.Context(), bad).reason; got != c.reason {
				t.Fatalf("%s: %s", c.name, got)
			}
		}
		if d.snapshot.Load().calls.Len() > 0 {
			t.Errorf("%s: it was counted", c.name)
		}
	}
}

// Who gets a new token by a standing consent goes on with the old one's calls.
// proves: P-12, T-8
func TestAllTokensOfAConsentCountTogether(t *testing.T) {
	s, r := good()
	d, _, _ := limited(t, s)
	decide(t, d, r, 2)
	next := ath.NewToken(s.token.Tag())
	s.token = next
	r.Authorization = []string{"Bearer " + next.Secret().Reveal()}
	if got := decide(t, d, r, 5); got != 1 {
		t.Errorf("%d calls passed with the next token, want 1", got)
	}
	other := *s.grant
	other.Connection = ath.NewTag()
	s.grant = &other
	if got := decide(t, d, r, 5); got != 3 {
		t.Errorf("%d calls passed by another consent, want 3", got)
	}
}

// Agents that share a user's connection do not share its calls.
func TestAgentsOfASharedConnectionCountApart(t *testing.T) {
	s, r := good()
	d, _, _ := limited(t, s)
	decide(t, d, r, 3)
	other := *s.grant
	other.Agent, other.ClientID = otherAgent, "client of "+otherAgent
	s.grant = &other
	r.AgentID = []string{otherAgent}
	if got := decide(t, d, r, 5); got != 3 {
		t.Errorf("%d calls of the other agent passed, want 3", got)
	}
}

func TestAnotherLimitHoldsAtOnceAndTheSameGoesOn(t *testing.T) {
	s, r := good()
	d, _, _ := limited(t, s)
	decide(t, d, r, 3)
	d.LimitCalls(ratelimit.Rate{N: 3, Per: time.Minute})
	d.config.Providers.Replace(providers(t)) // as at a reload
	if got := decide(t, d, r, 5); got != 0 {
		t.Errorf("by the same limit, %d more passed", got)
	}
	d.LimitCalls(ratelimit.Rate{N: 5, Per: time.Minute})
	if got := decide(t, d, r, 9); got != 5 {
		t.Errorf("by another limit, %d passed, want 5", got)
	}
	for _, off := range []ratelimit.Rate{ratelimit.Unlimited, {}} {
		d.LimitCalls(off)
		if got := decide(t, d, r, 100); got != 100 {
			t.Errorf("without a limit, %d of 100 passed", got)
		}
	}
}

func TestToExplainSaysTheLimitAndUsesNothingUp(t *testing.T) {
	s, r := good()
	d, _, _ := limited(t, s)
	explain := func() (Reason, string) {
		e, err := d.Explain(t.Context(), Question{Token: s.token.Secret(), Method: "GET", URL: r.Path})
		if err != nil {
			t.Fatal(err)
		}
		last := e.Steps[len(e.Steps)-1]
		if last.Rule != "calls per grant" {
			t.Fatalf("the last rule is %s", last.Rule)
		}
		return e.Decision.Reason(), last.Found
	}
	for range 5 {
		if reason, found := explain(); reason != Allowed || !strings.HasPrefix(found, "3 of 3/m left at this athd") {
			t.Fatalf("%s: %s", reason, found)
		}
	}
	decide(t, d, r, 3)
	if reason, found := explain(); reason != RateLimited || !strings.HasPrefix(found, "0 of 3/m") {
		t.Errorf("%s: %s", reason, found)
	}
	d.LimitCalls(ratelimit.Unlimited)
	if reason, found := explain(); reason != Allowed || found != "limits.calls_per_grant is off" {
		t.Errorf("%s: %s", reason, found)
	}
}

// An agent in a loop does not fill the log: audit.Log counts what repeats.
func TestRefusalsByTheLimitAreMarkedAsRepeating(t *testing.T) {
	s, r := good()
	d, _, logs := limited(t, s)
	r.Client = "198.51.100.7"
	decide(t, d, r, 2000)
	if got := bytes.Count(logs.Bytes(), []byte(`"denial_reason":"rate_limited"`)); got < 600 || got > 650 {
		t.Errorf("%d events of 1997 refusals", got)
	}
}
