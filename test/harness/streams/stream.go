package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// A Caller says as whom, and through which Envoy, something is opened.
type Caller struct {
	Envoy string // host:port
	Agent string
	Token string
	// Host and Prefix lead to the API where it is no app's; "": the kind's own host.
	Host, Prefix string
	// Every is the pace of the API, as [API] reads it; "": its own.
	Every string
}

// An End is how an exchange ended, as its client saw it.
type End struct {
	At  time.Time
	How string // reset, cut off, end, closed, or the status of an answer
}

func (e End) String() string { return e.How }

// A Stream is an exchange that is under way.
type Stream struct {
	Kind string

	cancel context.CancelFunc
	last   atomic.Int64
	end    End
	ended  chan struct{}
}

// Ended is closed when the client has seen the end.
func (s *Stream) Ended() <-chan struct{} { return s.ended }

// End is how it ended, once [Stream.Ended] is closed.
func (s *Stream) End() End { return s.end }

// Last is when the last byte came from the other side.
func (s *Stream) Last() time.Time { return time.Unix(0, s.last.Load()) }

// Close ends it from this side, and waits until it has.
func (s *Stream) Close() {
	s.cancel()
	<-s.ended
}

// Wait waits for the end until a moment; ok says that it came.
func (s *Stream) Wait(until time.Time) (end End, ok bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-s.ended:
		return s.end, true
	case <-timer.C:
		return End{}, false
	}
}

// A RefusedError is an answer in place of a stream.
type RefusedError struct {
	Status int
	Header http.Header
	Body   string
}

func (r *RefusedError) Error() string { return fmt.Sprintf("refused with %d: %s", r.Status, r.Body) }

// refused reads an answer that is no stream.
func refused(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	return &RefusedError{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// newStream is one that ends with cancel.
func newStream(kind string, cancel context.CancelFunc) *Stream {
	s := &Stream{Kind: kind, cancel: cancel, ended: make(chan struct{})}
	s.touch()
	return s
}

func (s *Stream) touch() { s.last.Store(time.Now().UnixNano()) }

func (s *Stream) finish(how string) {
	s.end = End{time.Now(), how}
	s.cancel()
	close(s.ended)
}

// read reads to the end.
func (s *Stream) read(from io.Reader) {
	buffer := make([]byte, 512)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			s.touch()
		}
		if err != nil {
			s.finish(how(err))
			return
		}
	}
}

// how names the end of an exchange that had begun.
func how(err error) string {
	switch text := err.Error(); {
	case errors.Is(err, io.EOF):
		return "end"
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(text, "EOF"):
		return "cut off"
	case strings.Contains(text, "stream error"), strings.Contains(text, "RST_STREAM"), strings.Contains(text, "connection reset"), strings.Contains(text, "broken pipe"):
		return "reset"
	default:
		return text
	}
}
