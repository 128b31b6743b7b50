package refresh

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/figures"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// away runs rounds in which Redis goes away in a call. start returns a crew on one,
// and what takes that away, which returns when it is back; again is how long after
// that there may still be 503.
func away(t *testing.T, figure figures.Figure, again time.Duration, start func(t *testing.T) (*crew, func())) {
	f := &found{}
	if os.Getenv(figures.File) == "" {
		again *= 3 // beside other tests the machine is busy; how soon is held where figures are wanted
	}
	t.Run("rounds", func(t *testing.T) {
		for i := range rounds(t) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				c, strike := start(t)
				c.endpoint.works(time.Second)
				users := []*user{c.connect(44 * time.Second), c.connect(44 * time.Second), c.connect(-time.Second), c.connect(-time.Second)}
				l := c.load(users)
				c.holder()
				struck := time.Now()
				strike()
				healed := time.Now()
				until(t, "every token is refreshed", 40*time.Second, func() bool { return c.all(users) })
				refreshed := time.Now()
				settled := healed.Add(again)
				time.Sleep(time.Until(settled.Add(time.Second))) // of what must be allowed
				moments := l.end()
				wrong := func(m moment) bool {
					meanwhile := m.at.After(struck.Add(-3*time.Second)) && m.at.Before(settled)
					// A token that has ended is also waited for.
					meanwhile = meanwhile || m.user.expires.Before(m.at) && m.at.Before(refreshed)
					return m.status != http.StatusOK && (m.status != http.StatusServiceUnavailable || !m.retry || !meanwhile)
				}
				f.add(func() {
					f.rounds++
					f.requests += len(moments)
					f.other += count(moments, wrong)
					f.unavailable += count(moments, func(m moment) bool { return m.status == http.StatusServiceUnavailable })
					for _, m := range moments {
						if m.status == http.StatusServiceUnavailable && m.at.After(healed) {
							f.longest = max(f.longest, m.at.Sub(healed))
						}
					}
				})
				for _, u := range users {
					f.grant(c, u)
				}
				for _, m := range moments {
					if wrong(m) {
						t.Fatalf("%v after the fault, %v after its end: %d, Retry-After %v, %v", m.at.Sub(struck), m.at.Sub(healed), m.status, m.retry, m.err)
					}
				}
			})
		}
	})
	f.seen(t, figure, fmt.Sprintf(", the last %v after its end", f.longest.Round(10*time.Millisecond)))
}

// Redis stands still for three seconds, and nothing is lost or asked twice.
func TestRedisIsPausedInACall(t *testing.T) {
	t.Parallel()
	away(t, figures.Paused, 2*time.Second, func(t *testing.T) (*crew, func()) {
		server := realredis.Start(t)
		c := newCrew(t, fmt.Sprintf("url: %q", server.URL()), tokenstore.Config{URL: server.URL()})
		return c, func() {
			server.Pause()
			<-time.After(3 * time.Second)
			server.Resume()
		}
	})
}

// Redis' master dies, and another one goes on with what it had confirmed.
func TestRedisFailsOverInACall(t *testing.T) {
	t.Parallel()
	away(t, figures.Failover, 6*time.Second, func(t *testing.T) (*crew, func()) {
		w := realredis.StartWatched(t, 2)
		c := newCrew(t, fmt.Sprintf("url: %q, sentinel_password: %q, wait_replicas: 1", w.URL(), w.SentinelPassword),
			tokenstore.Config{URL: w.URL(), SentinelPassword: ath.NewSecret(w.SentinelPassword), WaitReplicas: 1})
		return c, func() {
			master := w.Servers[0]
			master.Kill()
			w.AwaitFailover(master)
		}
	})
}
