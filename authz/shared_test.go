package authz

import (
	"testing"

	"github.com/athd/athd/ath"
)

// A connection that a user's agents share opens to a grant what both hold: the user
// may have allowed less since.
func TestASharedConnectionBoundsItsGrants(t *testing.T) {
	for name, c := range map[string]struct {
		shared, derived bool
		held            ath.Scopes
		want            Reason
	}{
		"the connection has all, and more":         {true, false, ath.Scopes{"orders:write", "products:read", "stock:read"}, Allowed},
		"the last consent did not bring it":        {true, false, ath.Scopes{"orders:write"}, ScopeMissing},
		"the last consent brought nothing":         {true, false, nil, ScopeMissing},
		"one of a consent is not bound by it":      {false, false, nil, Allowed},
		"a shared one, and rules that are guessed": {true, true, ath.Scopes{"products:read"}, ScopeMissing},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := good()
			s.grant.Shared, s.connection.Scopes = c.shared, c.held
			if c.shared {
				s.connection.Agent = ""
			}
			d := newDecider(t, s, new(recorder))
			d.snapshot.Load().set.Get("shop").Derived = c.derived
			if decision := d.Decide(t.Context(), r); decision.Reason() != c.want {
				t.Errorf("%s, want %s", decision.Reason(), c.want)
			}
		})
	}
}
