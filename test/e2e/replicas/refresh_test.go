package replicas

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A process is killed while the provider works on its refresh. The other one makes
// one more call, once the first must have ended, and the user's grant goes on.
//
// proves: P-6
func TestAKilledAthdsRefreshIsMadeOnceMore(t *testing.T) {
	server := realredis.Start(t)
	p := newPair(t, store{yaml: fmt.Sprintf("url: %q", server.URL()), settings: tokenstore.Config{URL: server.URL()}})
	p.provider.life, p.provider.refresh, p.provider.hold = 1, true, make(chan struct{})
	c := &contest{t: t}
	s := c.consented(p)
	token := c.must(p.token(t.Context(), p.direct[0], s.actor, p.attest(s.actor, "/ath/token"), s.id, s.code), http.StatusOK).text("access_token")
	holder := -1
	for end := time.Now().Add(20 * time.Second); holder < 0; {
		if time.Now().After(end) {
			t.Fatal("the provider was not asked to refresh")
		}
		p.call(t.Context(), s.actor, token)
		for i, athd := range p.Athd {
			if _, metrics := athd.Get("/metrics"); strings.Contains(metrics, "\nathd_refreshes_in_flight 1\n") {
				holder = i
			}
		}
	}
	p.Athd[holder].Kill()
	killed := time.Now()
	// The provider is done with the call of the dead one after longer than a lease.
	release := sync.OnceFunc(func() { close(p.provider.hold) })
	time.AfterFunc(6*time.Second, release)
	defer release()
	for {
		r := p.call(t.Context(), s.actor, token)
		if r.status == http.StatusOK {
			if p.provider.timesRefreshed() > 1 {
				break
			}
			continue // the old token lives for a moment
		}
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") != "1" {
			t.Fatalf("%d, Retry-After %q: %v", r.status, r.header.Get("Retry-After"), r.body)
		}
		if time.Since(killed) > 45*time.Second {
			t.Fatalf("not refreshed after 45 s: %v", r.body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("refreshed %v after the kill", time.Since(killed).Round(time.Second))
	p.provider.mu.Lock()
	defer p.provider.mu.Unlock()
	if p.provider.refreshes != 2 || p.provider.atOnce != 1 {
		t.Errorf("%d calls, %d at the same time", p.provider.refreshes, p.provider.atOnce)
	}
}
