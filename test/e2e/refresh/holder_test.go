package refresh

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/figures"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// holder waits for a call, and says whose it is.
func (c *crew) holder() *member {
	c.t.Helper()
	select {
	case secret := <-c.endpoint.asked:
		for _, m := range c.athd {
			if m.secret == secret {
				return m
			}
		}
		c.t.Fatal("the provider was asked by nobody of these")
	case <-time.After(20 * time.Second):
		c.t.Fatal("the provider was not asked")
	}
	return nil
}

// struck runs rounds in which the athd that is in a call is struck. Its users'
// tokens live until the end: the other athd allow all that they are asked.
func struck(t *testing.T, figure figures.Figure, works time.Duration, strike func(t *testing.T, round int, holder *member)) {
	f := &found{}
	t.Run("rounds", func(t *testing.T) {
		for i := range rounds(t) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				server := realredis.Start(t)
				c := newCrew(t, fmt.Sprintf("url: %q", server.URL()), tokenstore.Config{URL: server.URL()})
				c.endpoint.works(works)
				var users []*user
				for range 3 {
					users = append(users, c.connect(50*time.Second))
				}
				l := c.load(users)
				holder := c.holder()
				strike(t, i, holder)
				until(t, "every token is refreshed", 45*time.Second, func() bool { return c.all(users) })
				moments := l.end()
				f.add(func() {
					f.rounds++
					f.requests += len(moments)
					f.other += count(moments, func(m moment) bool { return m.by != holder && m.status != http.StatusOK })
				})
				for _, u := range users {
					f.grant(c, u)
				}
				for _, m := range moments {
					if m.by != holder && m.status != http.StatusOK {
						t.Fatalf("of another athd: %d, %v", m.status, m.err)
					}
				}
			})
		}
	})
	f.seen(t, figure, "")
}

// An athd is killed while the provider works on its call, for longer than the lease
// lives. There is one more call, once the first must have ended.
//
// proves: P-6
func TestTheHolderIsKilledInItsCall(t *testing.T) {
	t.Parallel()
	struck(t, figures.Killed, 6*time.Second, func(_ *testing.T, _ int, holder *member) { holder.Kill() })
}

// An athd is stopped in its call, and the answer comes meanwhile: it is read and
// stored when the athd goes on, also after what the call would have had, and before
// anybody else makes another.
//
// proves: P-6
func TestTheHolderIsStoppedInItsCall(t *testing.T) {
	t.Parallel()
	stops := []time.Duration{18500 * time.Millisecond, 3 * time.Second, 8 * time.Second, 16 * time.Second}
	struck(t, figures.Stopped, 2*time.Second, func(t *testing.T, round int, holder *member) {
		holder.Signal(syscall.SIGSTOP)
		goOn := time.AfterFunc(stops[round%len(stops)], func() { holder.Signal(syscall.SIGCONT) })
		t.Cleanup(func() {
			goOn.Stop()
			holder.Signal(syscall.SIGCONT) // so that it can end
		})
	})
}
