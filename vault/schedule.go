package vault

import (
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// Lately is how long before the time of its refresh a connection must have been
// used to be refreshed in the background. Others wait for the next call.
const Lately = 2 * time.Minute

const maxScheduled = 50_000

// A schedule has one timer for each connection whose token ends soon.
type schedule struct {
	mu     sync.RWMutex
	timers map[ath.Tag]*time.Timer
	closed bool
}

func (s *schedule) has(tag ath.Tag) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, there := s.timers[tag]
	return there
}

// set arms the timer of a connection, if it has none or it is the one that fires.
func (s *schedule) set(tag ath.Tag, after time.Duration, again bool, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.timers[tag]; there != again || s.closed || len(s.timers) >= maxScheduled && !again {
		return
	}
	s.timers[tag] = time.AfterFunc(after, do)
}

func (s *schedule) drop(tag ath.Tag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.timers, tag)
}

func (s *schedule) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for tag, timer := range s.timers {
		timer.Stop()
		delete(s.timers, tag)
	}
}

// Soon says that a connection was used whose access token ends within the
// provider's margin and [Lately]. It returns at once; the token is refreshed in
// the background, at a time within the margin that differs from replica to replica.
func (v *Vault) Soon(p *provider.Provider, g *tokenstore.Grant, c *tokenstore.Connection) {
	if v.schedule.has(g.Connection) {
		return
	}
	if c.Ended || !c.RefreshStatus.Refused.IsZero() || !p.Refreshable(c.Refresh) {
		return
	}
	margin := p.Margin(life(c))
	if margin <= 0 {
		return
	}
	left := c.Expires.Sub(v.Now())
	if left > margin+Lately {
		return
	}
	w := work{ref: g.Ref(), provider: p, cause: ahead}
	expires := c.Expires
	v.schedule.set(g.Connection, max(0, left-jitter(margin)), false, func() { v.refreshDue(w, expires, time.Second) })
}

// refreshDue refreshes in the background, and again later if that has to wait,
// for as long as the access token lives. After that whoever needs it does.
func (v *Vault) refreshDue(w work, expires time.Time, pause time.Duration) {
	next := min(2*pause, shutAtMost)
	if v.Providers != nil {
		if w.provider = v.Providers.Current().Get(w.ref.Provider); w.provider == nil {
			v.schedule.drop(w.ref.Tag)
			return
		}
	}
	if f := v.join(w); f != nil {
		<-f.done
		switch f.result {
		case Renewed, Refused:
			v.schedule.drop(w.ref.Tag)
			return
		case pending:
			pause, next = v.Lease/2, pause
		}
	}
	if !v.Now().Add(pause).Before(expires) {
		v.schedule.drop(w.ref.Tag)
		return
	}
	v.schedule.set(w.ref.Tag, jitter(pause), true, func() { v.refreshDue(w, expires, next) })
}

// life is how long the access token lives in all.
func life(c *tokenstore.Connection) time.Duration {
	since := c.RefreshStatus.Refreshed
	if since.IsZero() {
		since = c.Created
	}
	return c.Expires.Sub(since)
}
