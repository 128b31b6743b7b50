package tokenstore

import (
	"container/list"
	"sync"
	"time"
)

const (
	// maxCacheBytes bounds the bytes that the decrypted records of a kind may
	// take, roughly: some ten thousand records.
	maxCacheBytes = 16 << 20
	// idleTimeout is how long a record stays that nobody reads; at most twice
	// that long.
	idleTimeout = time.Minute
)

// A decryptCache is an LRU cache of decrypted records. It is no cache of what
// is stored: every read asks the server, and what the server answers is
// decrypted again unless it is, byte for byte, what stood under the same key
// before. Decrypting the same bytes twice gives the same record twice.
//
// The records may hold users' OAuth tokens. The keyset, which decrypts them
// all, is in the same memory.
type decryptCache[T any] struct {
	open func(key, raw string) (T, extra, error)

	mu         sync.Mutex
	byKey      map[string]*list.Element
	recent     *list.List // of *decryptedRecord[T], the most recently used first
	bytes      int
	generation int
}

type decryptedRecord[T any] struct {
	key, raw string
	value    *T
	used     int // the generation in which it was read last
}

// size is an estimate: the sealed record and the decrypted one.
func (r *decryptedRecord[T]) size() int { return len(r.key) + 2*len(r.raw) + 512 }

func newDecryptCache[T any](open func(key, raw string) (T, extra, error)) *decryptCache[T] {
	return &decryptCache[T]{open: open, byKey: make(map[string]*list.Element), recent: list.New()}
}

// get decrypts a record. The result is shared: nobody may change it.
func (c *decryptCache[T]) get(key, raw string) (*T, error) {
	if value := c.lookup(key, raw); value != nil {
		return value, nil
	}
	value, _, err := c.open(key, raw)
	if err != nil {
		return nil, err
	}
	c.add(&decryptedRecord[T]{key: key, raw: raw, value: &value})
	return &value, nil
}

func (c *decryptCache[T]) lookup(key, raw string) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	r := e.Value.(*decryptedRecord[T])
	if r.raw != raw {
		return nil
	}
	c.recent.MoveToFront(e)
	r.used = c.generation
	return r.value
}

func (c *decryptCache[T]) add(r *decryptedRecord[T]) {
	if r.size() > maxCacheBytes/64 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[r.key]; ok {
		c.remove(e)
	}
	r.used = c.generation
	c.byKey[r.key] = c.recent.PushFront(r)
	for c.bytes += r.size(); c.bytes > maxCacheBytes; {
		c.remove(c.recent.Back())
	}
}

// evictIdle begins a generation, and evicts what was used neither in the one
// that ends nor since.
func (c *decryptCache[T]) evictIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.recent.Back(); e != nil && e.Value.(*decryptedRecord[T]).used < c.generation; e = c.recent.Back() {
		c.remove(e)
	}
	c.generation++
}

func (c *decryptCache[T]) remove(e *list.Element) {
	r := c.recent.Remove(e).(*decryptedRecord[T])
	delete(c.byKey, r.key)
	c.bytes -= r.size()
}

// forgetAll empties the cache: a key that decrypted some of it has gone.
func (c *decryptCache[T]) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byKey)
	c.recent.Init()
	c.bytes = 0
}
