package vault_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// 8 athd, 200 requests at each, at the moment at which the token ends.
//
// proves: P-6
func TestOneCallForAllReplicas(t *testing.T) {
	const requests = 200
	slow := func(d time.Duration) func(int, http.ResponseWriter, *http.Request) bool {
		return func(int, http.ResponseWriter, *http.Request) bool { time.Sleep(d); return false }
	}
	t.Run("ahead of its end", func(t *testing.T) {
		w := newWorld(t, 8, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
		c := w.connect(10 * time.Second)
		if y := w.storm(requests, c); y.reasons[authz.Allowed] != 8*requests {
			t.Errorf("decisions: %v", y)
		}
		until(t, "the token is refreshed in the background", 15*time.Second, func() bool { return w.renewed(c) })
		if n := w.endpoint.Calls(); n != 1 {
			t.Errorf("%d calls to the provider", n)
		}
	})
	t.Run("ahead of its end, and three times as slow as the lease", func(t *testing.T) {
		w := newWorld(t, 8, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
		w.endpoint.Answers(slow(1200 * time.Millisecond))
		c := w.connect(10 * time.Second)
		for !w.renewed(c) {
			if y := w.storm(20, c); y.reasons[authz.Allowed] != 8*20 {
				t.Fatalf("decisions: %v", y)
			}
		}
		if n := w.endpoint.Calls(); n != 1 {
			t.Errorf("%d calls to the provider", n)
		}
	})
	t.Run("P-6: after its end", func(t *testing.T) {
		w := newWorld(t, 8, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
		c := w.connect(-time.Second)
		y := w.storm(requests, c)
		if n := w.endpoint.Calls(); n != 1 {
			t.Errorf("%d calls to the provider", n)
		}
		if y.reasons[authz.Allowed]+y.reasons[authz.ProviderUnavailable] != 8*requests || y.slowest > time.Second {
			t.Errorf("decisions: %v", y)
		}
		if y := w.storm(requests, c); y.reasons[authz.Allowed] != 8*requests {
			t.Errorf("decisions once it is there: %v", y)
		}
	})
	t.Run("P-6: after its end, and three times as slow as the lease", func(t *testing.T) {
		w := newWorld(t, 8, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
		w.endpoint.Answers(slow(1200 * time.Millisecond))
		c := w.connect(-time.Second)
		y := w.storm(requests, c)
		if y.reasons[authz.ProviderUnavailable] != 8*requests || y.slowest > time.Second {
			t.Errorf("decisions: %v", y)
		}
		until(t, "the call goes on without who waited", 10*time.Second, func() bool { return w.renewed(c) })
		if y := w.storm(requests, c); y.reasons[authz.Allowed] != 8*requests {
			t.Errorf("decisions once it is there: %v", y)
		}
		if n := w.endpoint.Calls(); n != 1 {
			t.Errorf("%d calls to the provider", n)
		}
	})
}
