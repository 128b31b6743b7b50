package httpapi

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/athd/athd/ath"
)

// A body is read before its request takes a place among those under way:
// whoever sends one byte a second keeps a connection busy, and nothing else.
const (
	bodyTime = 5 * time.Second // for all of a body

	smallBody = 8 << 10 // as long as an honest one is
	bigBodies = 512     // how many longer ones are kept at once: 32 MiB
)

// bodies counts those that are being read.
type bodies struct {
	mu     sync.Mutex
	big    int
	byPeer map[netip.Addr]int
}

// readAhead reads the request's body, and gives the handler what was read, or
// why it ended. done must be called when the handler is through with it.
func (s *Server) readAhead(w http.ResponseWriter, r *http.Request, from netip.Addr) (done func(), err error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return func() {}, nil
	}
	if r.ContentLength > maxBodyBytes {
		w.Header().Set("Connection", "close") // nobody waits for the rest
		r.Body = &body{err: &http.MaxBytesError{Limit: maxBodyBytes}}
		return func() {}, nil
	}
	b := &s.limiter.bodies
	b.mu.Lock()
	if b.byPeer[from] >= s.limiter.ConcurrentPerAddress {
		b.mu.Unlock()
		s.Limited("concurrent_per_address")
		return nil, TooMany("Too many requests from this address are being read.", time.Second)
	}
	b.byPeer[from]++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.byPeer[from]--; b.byPeer[from] == 0 {
			delete(b.byPeer, from)
		}
	}()
	// A connection that cannot have a deadline has the server's.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	size := int64(smallBody)
	if r.ContentLength > 0 {
		size = min(r.ContentLength, size)
	}
	read := make([]byte, size+1)
	n, err := fill(read, r.Body)
	done = func() {}
	if err == nil { // there may be more
		b.mu.Lock()
		free := b.big < bigBodies
		if free {
			b.big++
		}
		b.mu.Unlock()
		if !free {
			s.Limited("concurrent")
			return nil, errBusy()
		}
		long := longBodies.Get().(*[maxBodyBytes + 1]byte)
		done = sync.OnceFunc(func() {
			longBodies.Put(long)
			b.mu.Lock()
			defer b.mu.Unlock()
			b.big--
		})
		copy(long[:], read)
		var rest int
		rest, err = fill(long[n:], r.Body)
		n, read = n+rest, long[:]
		if err == nil {
			err = &http.MaxBytesError{Limit: maxBodyBytes}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	r.Body = &body{read: read[:n], err: err}
	return done, nil
}

// fill reads until p is full, or returns what ended it: io.EOF at a body's
// end, and something else where it broke off.
func fill(p []byte, from io.Reader) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = from.Read(p[n:])
		n += m
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// A body is one that was read, up to its end or to an error.
type body struct {
	read []byte
	err  error
	at   int
}

func (b *body) Read(p []byte) (int, error) {
	if b.at == len(b.read) {
		return 0, cmp.Or(b.err, io.EOF)
	}
	n := copy(p, b.read[b.at:])
	b.at += n
	return n, nil
}

func (*body) Close() error { return nil }

// longBodies are reused: a flood of them would keep the garbage collector busy
// with nothing else.
var longBodies = sync.Pool{New: func() any { return new([maxBodyBytes + 1]byte) }}

// DropBody returns the request without its body: it is going to be refused,
// and nobody waits for what it would still send.
func DropBody(w http.ResponseWriter, r *http.Request) *http.Request {
	if r.ContentLength == 0 {
		return r
	}
	w.Header().Set("Connection", "close")
	r = r.WithContext(r.Context()) // the server looks at its own
	r.Body = http.NoBody
	return r
}

// unread is the error of a body that could not be read.
func unread(err error) *ath.Error {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return ath.Errorf(ath.PayloadTooLarge, "The body is larger than %d bytes.", maxBodyBytes)
	}
	return ath.Errorf(ath.InvalidRequest, "The body could not be read.").WithCause(err)
}
