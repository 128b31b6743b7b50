package authz

import (
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

// In a mesh each path of the table passes on its own origin and on no other,
// and what athd does not answer through Envoy's routes passes on none.
func TestEveryPathPassesOnItsOriginInMeshes(t *testing.T) {
	const public, consent = "gw.example", "consent.example"
	s, _ := good()
	d := newDeciderOf(t, s, true)
	apart := newDeciderOf(t, s, true)
	apart.config.ConsentHost = ath.RequestedHost(consent)
	for _, row := range ath.Paths() {
		t.Run(row.Path, func(t *testing.T) {
			path := strings.ReplaceAll(row.Sample(), "…", "x")
			passes := func(d *Decider, host string) bool {
				decision := d.Decide(t.Context(), Request{Method: "GET", Host: host, Path: path})
				return decision.Reason() == Companion
			}
			if got := passes(d, public); got != row.Companion() {
				t.Errorf("%s passes: %v", path, got)
			}
			if got := passes(apart, public); got != (row.Companion() && row.On&ath.OnPublic != 0) {
				t.Errorf("%s passes at %s beside a consent host: %v", path, public, got)
			}
			if got := passes(apart, consent); got != (row.Companion() && row.On&ath.OnConsent != 0) {
				t.Errorf("%s passes at the consent host: %v", path, got)
			}
		})
	}
}
