package ratelimit

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

// A Crowd says what becomes of a new key when a table is full, and none of its
// buckets is full again, so that evicting it would change something.
type Crowd int

// What a full table does.
const (
	// ShareOverflow: new keys share one bucket of ten times the rate. A flood of
	// keys gains nothing by filling the table, and keys that are in it are not
	// affected. For keys that strangers choose.
	ShareOverflow Crowd = iota
	// ForgetOldest: the key that was not used for longest starts anew when it comes
	// back. Nobody is refused for how many others there are. For keys that are hard to
	// get.
	ForgetOldest
)

// A Table limits each key by a token bucket of its own, in bounded memory. A
// bucket is evicted where it is full again, so that evicting it changes nothing;
// else its [Crowd] decides. It is safe for concurrent use. A nil Table limits
// nothing.
type Table[K comparable] struct {
	rate  Rate
	crowd Crowd
	max   int

	mu       sync.Mutex
	byKey    map[K]*list.Element // of *bucket[K]
	recent   *list.List          // the most recently used first
	overflow *rate.Limiter
}

type bucket[K comparable] struct {
	key     K
	limiter *rate.Limiter
}

// NewTable returns a Table without keys.
func NewTable[K comparable](r Rate, c Crowd) *Table[K] {
	t := &Table[K]{rate: r, crowd: c, max: maxBuckets, byKey: map[K]*list.Element{}, recent: list.New()}
	if r != Unlimited && c == ShareOverflow {
		t.overflow = rate.NewLimiter(r.perSecond()*overflowFactor, r.N*overflowFactor)
	}
	return t
}

// At returns t itself where its rate is r, else a table of that rate: those who
// took of the other one start anew. A nil t has no rate, and no Crowd: c is for the
// new one.
func (t *Table[K]) At(r Rate, c Crowd) *Table[K] {
	if t != nil && t.rate == r && t.crowd == c {
		return t
	}
	return NewTable[K](r, c)
}

// Rate is what each key may.
func (t *Table[K]) Rate() Rate {
	if t == nil {
		return Unlimited
	}
	return t.rate
}

// Take takes one from the key's bucket, or returns after which time there will
// be one. Who is refused pays nothing. For a key that is known it allocates nothing.
func (t *Table[K]) Take(key K, now time.Time) time.Duration {
	if t == nil || t.rate == Unlimited {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.limiter(key, now)
	if l.AllowN(now, 1) {
		return 0
	}
	r := l.ReserveN(now, 1)
	defer r.CancelAt(now)
	return r.DelayFrom(now)
}

// Left returns how many a key could take now, one after another, and takes none.
func (t *Table[K]) Left(key K, now time.Time) int {
	if t == nil || t.rate == Unlimited {
		return Unlimited.N
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byKey[key]; e != nil {
		return max(0, int(e.Value.(*bucket[K]).limiter.TokensAt(now)))
	}
	return t.rate.N
}

// Len returns how many keys are remembered.
func (t *Table[K]) Len() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.recent.Len()
}

// limiter needs t.mu.
func (t *Table[K]) limiter(key K, now time.Time) *rate.Limiter {
	if e := t.byKey[key]; e != nil {
		t.recent.MoveToFront(e)
		return e.Value.(*bucket[K]).limiter
	}
	if t.recent.Len() >= t.max {
		oldest := t.recent.Back()
		b := oldest.Value.(*bucket[K])
		if t.overflow != nil && b.limiter.TokensAt(now) < float64(b.limiter.Burst()) {
			return t.overflow
		}
		delete(t.byKey, b.key)
		t.recent.Remove(oldest)
	}
	b := &bucket[K]{key: key, limiter: rate.NewLimiter(t.rate.perSecond(), t.rate.N)}
	t.byKey[key] = t.recent.PushFront(b)
	return b.limiter
}
