package handshake

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/identity"
)

// An agent whose identity host is away hears that, and not that its attestation
// is bad: it would throw good credentials away.
// F-23
// proves: A-6
func TestAHostThatIsAwaySaysNothingAgainstTheAgent(t *testing.T) {
	w := newWorld(t)
	a := w.actor("moving")
	good := identity.With(t, a.key, w.sites+"/away.json", "Agent moving")
	var status atomic.Int32
	a.id = good.ID()
	w.site.HandleFunc("/away.json", func(rw http.ResponseWriter, r *http.Request) {
		if s := status.Load(); s != 0 {
			rw.WriteHeader(int(s))
			return
		}
		good.ServeHTTP(rw, r)
	})
	if r := a.register("gallery", "pictures:read"); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	w.pass(10 * time.Minute) // nothing is in the cache any more

	status.Store(http.StatusBadGateway)
	for path, b := range map[string]body{
		"/ath/agents/register": a.registration("gallery", "pictures:write"),
		"/ath/authorize":       a.authorization("gallery", "pictures:read"),
		"/ath/token":           a.exchange("x", "y"),
	} {
		r := w.post(path, b)
		w.refusedAs(t, r, http.StatusServiceUnavailable, "INTERNAL_ERROR")
		if r.details()["reason"] != "identity_unreachable" || r.header.Get("Retry-After") != "2" {
			t.Errorf("%s: Retry-After %q, %s", path, r.header.Get("Retry-After"), r.raw)
		}
	}
	w.pass(3 * time.Second)
	status.Store(http.StatusNotFound) // it is there, and says that there is none
	w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")), http.StatusUnauthorized, "INVALID_ATTESTATION")
	w.pass(6 * time.Second)
	status.Store(0)
	if r := w.post("/ath/authorize", a.authorization("gallery", "pictures:read")); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.raw)
	}
}
