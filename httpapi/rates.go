package httpapi

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxBuckets     = 1 << 16 // of one table: some 15 MB, all full
	overflowFactor = 10
)

// rates limits each key by a token bucket of its own, in bounded memory. A bucket
// is evicted only when it is full again, so that evicting it changes nothing.
// Where none is, new keys share one bucket: a flood from many addresses gains
// nothing by overflowing the table, and keys that are in it are not affected.
type rates[K comparable] struct {
	rate Rate
	max  int

	mu       sync.Mutex
	byKey    map[K]*list.Element // of *bucket[K]
	recent   *list.List          // the most recently used first
	overflow *rate.Limiter
}

type bucket[K comparable] struct {
	key     K
	limiter *rate.Limiter
}

func newRates[K comparable](r Rate) *rates[K] {
	t := &rates[K]{rate: r, max: maxBuckets, byKey: map[K]*list.Element{}, recent: list.New()}
	if r != Unlimited {
		t.overflow = rate.NewLimiter(r.perSecond()*overflowFactor, r.N*overflowFactor)
	}
	return t
}

func (r Rate) perSecond() rate.Limit { return rate.Limit(float64(r.N) / r.Per.Seconds()) }

// take takes one from the key's bucket, or returns after which time there will
// be one.
func (t *rates[K]) take(key K, now time.Time) time.Duration {
	if t.overflow == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.limiter(key, now).ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now) // who is refused pays nothing
	}
	return wait
}

// limiter needs t.mu.
func (t *rates[K]) limiter(key K, now time.Time) *rate.Limiter {
	if e := t.byKey[key]; e != nil {
		t.recent.MoveToFront(e)
		return e.Value.(*bucket[K]).limiter
	}
	if t.recent.Len() >= t.max {
		oldest := t.recent.Back()
		b := oldest.Value.(*bucket[K])
		if b.limiter.TokensAt(now) < float64(b.limiter.Burst()) {
			return t.overflow
		}
		delete(t.byKey, b.key)
		t.recent.Remove(oldest)
	}
	b := &bucket[K]{key: key, limiter: rate.NewLimiter(t.rate.perSecond(), t.rate.N)}
	t.byKey[key] = t.recent.PushFront(b)
	return b.limiter
}
