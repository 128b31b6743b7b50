package authz

import (
	"testing"
	"time"

	"github.com/athd/athd/tokenstore"
)

// Who notes when connections are used is told of each call that passes, and of no
// other.
func TestWhatPassesCountsAsUsed(t *testing.T) {
	watched := func(t *testing.T, s *stored) (*Decider, *[]*tokenstore.Grant) {
		d, used := newDecider(t, s, new(recorder)), new([]*tokenstore.Grant)
		d.config.Used = func(g *tokenstore.Grant, at time.Time) {
			if !at.Equal(now) {
				t.Errorf("used at %v, want %v", at, now)
			}
			*used = append(*used, g)
		}
		return d, used
	}
	s, r := good()
	d, used := watched(t, s)
	for n := range 3 {
		decision := d.Decide(t.Context(), r)
		if !decision.Allowed() || len(*used) != n+1 || (*used)[n] != s.grant {
			t.Fatalf("%s, and used %v", decision.Reason(), *used)
		}
	}
	if _, err := d.Explain(t.Context(), Question{Token: s.token.Secret(), AgentID: agentID, Method: "GET", URL: "https://gw.example/ath/proxy/shop/products/7"}); err != nil || len(*used) != 3 {
		t.Errorf("to explain is no use: %v, %v", *used, err)
	}
	for _, c := range refusals() {
		s, r := good()
		c.break_(s, &r)
		d, used := watched(t, s)
		if decision := d.Decide(t.Context(), r); len(*used) > 0 {
			t.Errorf("%s: %s counts as used", c.name, decision.Reason())
		}
	}
}
