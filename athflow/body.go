package athflow

import (
	"bytes"
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
func (f *Flow) readAhead(w http.ResponseWriter, r *http.Request, from netip.Addr) (done func(), err error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return func() {}, nil
	}
	if r.ContentLength > maxBodyBytes {
		w.Header().Set("Connection", "close") // nobody waits for the rest
		r.Body = io.NopCloser(failing{&http.MaxBytesError{Limit: maxBodyBytes}})
		return func() {}, nil
	}
	b := &f.limiter.bodies
	b.mu.Lock()
	if b.byPeer[from] >= f.limiter.ConcurrentPerAddress {
		b.mu.Unlock()
		f.Limited("concurrent_per_address")
		return nil, tooMany("Too many requests from this address are being read.", time.Second)
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
	head := make([]byte, 0, min(max(r.ContentLength, 512), smallBody)+1)
	read := bytes.NewBuffer(head)
	_, err = io.CopyN(read, r.Body, smallBody)
	done = func() {}
	if err == nil { // there may be more
		b.mu.Lock()
		room := b.big < bigBodies
		if room {
			b.big++
		}
		b.mu.Unlock()
		if !room {
			f.Limited("concurrent")
			return nil, errBusy()
		}
		done = sync.OnceFunc(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.big--
		})
		_, err = io.CopyN(read, r.Body, maxBodyBytes+1-smallBody)
	}
	whole := io.Reader(read)
	if !errors.Is(err, io.EOF) && err != nil {
		whole = io.MultiReader(read, failing{err})
	}
	r.Body = io.NopCloser(whole)
	return done, nil
}

// unreadBody returns the request without its body: it is going to be refused,
// and nobody waits for what it would still send.
func unreadBody(w http.ResponseWriter, r *http.Request) *http.Request {
	if r.ContentLength == 0 {
		return r
	}
	w.Header().Set("Connection", "close")
	r = r.WithContext(r.Context()) // the server looks at its own
	r.Body = http.NoBody
	return r
}

// failing is a body that cannot be read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// unread is the error of a body that could not be read.
func unread(err error) *ath.Error {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return ath.Errorf(ath.PayloadTooLarge, "The body is larger than %d bytes.", maxBodyBytes)
	}
	return ath.Errorf(ath.InvalidRequest, "The body could not be read.").WithCause(err)
}
