package tokenstore

import (
	"container/list"
	"sync"
	"time"
)

const (
	// maxOpened bounds the bytes that the opened records of a kind may take,
	// roughly: some ten thousand of them.
	maxOpened = 16 << 20
	// unused is how long a record may lie unused before it is forgotten; up to
	// twice that long.
	unused = time.Minute
)

// An opened remembers what sealed records held. That is no cache of what is
// stored: every read asks the server, and what it answers is opened anew
// unless it is, byte for byte, what stood under the same key before. To open a
// record twice gives the same twice.
//
// What is remembered may hold a user's OAuth tokens. The keyset, which opens
// them all, is in the same memory.
type opened[T any] struct {
	open func(key, raw string) (T, error)

	mu     sync.Mutex
	byKey  map[string]*list.Element
	recent *list.List // of *openedRecord[T], the one used last first
	bytes  int
	round  int
}

type openedRecord[T any] struct {
	key, raw string
	value    *T
	used     int // in this round
}

// size is an estimate: the record as it is sealed, and as it is open.
func (r *openedRecord[T]) size() int { return len(r.key) + 2*len(r.raw) + 512 }

func newOpened[T any](open func(key, raw string) (T, error)) *opened[T] {
	return &opened[T]{open: open, byKey: make(map[string]*list.Element), recent: list.New()}
}

// get opens a record. The result is shared: nobody may change it.
func (o *opened[T]) get(key, raw string) (*T, error) {
	if value := o.known(key, raw); value != nil {
		return value, nil
	}
	value, err := o.open(key, raw)
	if err != nil {
		return nil, err
	}
	o.remember(&openedRecord[T]{key: key, raw: raw, value: &value})
	return &value, nil
}

func (o *opened[T]) known(key, raw string) *T {
	o.mu.Lock()
	defer o.mu.Unlock()
	e, ok := o.byKey[key]
	if !ok {
		return nil
	}
	r := e.Value.(*openedRecord[T])
	if r.raw != raw {
		return nil
	}
	o.recent.MoveToFront(e)
	r.used = o.round
	return r.value
}

func (o *opened[T]) remember(r *openedRecord[T]) {
	if r.size() > maxOpened/64 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if e, ok := o.byKey[r.key]; ok {
		o.forget(e)
	}
	r.used = o.round
	o.byKey[r.key] = o.recent.PushFront(r)
	for o.bytes += r.size(); o.bytes > maxOpened; {
		o.forget(o.recent.Back())
	}
}

// age begins a round, and forgets what was used neither in the one that ends
// nor since.
func (o *opened[T]) age() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for e := o.recent.Back(); e != nil && e.Value.(*openedRecord[T]).used < o.round; e = o.recent.Back() {
		o.forget(e)
	}
	o.round++
}

func (o *opened[T]) forget(e *list.Element) {
	r := o.recent.Remove(e).(*openedRecord[T])
	delete(o.byKey, r.key)
	o.bytes -= r.size()
}
