package replicas

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// TestASlowDecisionIsWaitedFor holds that Envoy asks once and waits for a
// decision that is in time, whether or not there is another athd to ask.
//
// N-1
func TestASlowDecisionIsWaitedFor(t *testing.T) {
	for _, athds := range []struct {
		name  string
		alone bool
	}{{"one athd", true}, {"two athds", false}} {
		t.Run(athds.name, func(t *testing.T) {
			server := realredis.Start(t)
			proxy := startProxy(t, server.Addr())
			url := fmt.Sprintf("redis://:%s@%s/0", server.Password(), proxy.addr)
			p := newPair(t, store{
				yaml: fmt.Sprintf("url: %q, timeout: 900ms", url), settings: tokenstore.Config{URL: server.URL()}, alone: athds.alone,
			})
			c := &contest{t: t}
			s := c.consented(p)
			token := c.must(p.token(t.Context(), p.direct[0], s.actor, p.attest(s.actor, "/ath/token"), s.id, s.code), http.StatusOK).text("access_token")
			for range 8 { // connections that are new cost more answers
				c.must(p.call(t.Context(), s.actor, token), http.StatusOK)
			}
			hung := time.Now().Add(2 * time.Minute)
			for _, delay := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
				proxy.delay.Store(int64(delay))
				for judged := 0; judged < 6; {
					if time.Now().After(hung) {
						t.Fatalf("with answers of the store after %v, %d of 6 calls took less than %v", delay, judged, perTry)
					}
					before, began := p.triedAgain(t), time.Now()
					r := p.call(t.Context(), s.actor, token)
					took := time.Since(began)
					if took >= perTry {
						continue // a busy machine added to it: Envoy may have been right to ask the other one
					}
					judged++
					c.must(r, http.StatusOK)
					if took < delay {
						t.Errorf("answered after %v: the store's answer, which takes %v, was not waited for", took, delay)
					}
					if n := p.triedAgain(t) - before; n > 0 {
						t.Errorf("a decision of %v was asked for twice", took)
					}
				}
			}
		})
	}
}

// perTry is how long Envoy waits for one of several athd. A call that took less in
// all had its decision in time, however busy the machine is.
const perTry = 450 * time.Millisecond

var retried = regexp.MustCompile(`(?m)^cluster\.athd_authz\.upstream_rq_retry: (\d+)$`)

// triedAgain is how many checks Envoy has sent a second time.
func (p *pair) triedAgain(t *testing.T) (n int) {
	t.Helper()
	stats := p.Envoy[0].Admin("/stats?filter=athd_authz.upstream_rq_retry")
	found := retried.FindStringSubmatch(stats)
	if found == nil {
		t.Fatalf("Envoy counts no retries:\n%s", stats)
	}
	fmt.Sscan(found[1], &n)
	return n
}
