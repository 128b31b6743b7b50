package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/streams"
)

// Above its cap a stream is refused with 429 and Retry-After, whatever kind it is
// of; when one has ended, the next one opens. Short calls are not counted.
func TestStreamsAreCapped(t *testing.T) {
	for i, how := range watched {
		if i > 0 && !whole() {
			break
		}
		t.Run(how.name, func(t *testing.T) {
			w := newWorld(t, setup{envoy: how.envoy, limits: "streams: {per_grant: 2, per_agent: 3, total: 1000}"})
			h := w.hold("two", time.Hour)
			events := streams.Find("events over HTTP/2")
			first, _ := w.start(t, events, 0, h), w.start(t, events, 0, h)
			for _, k := range streams.Kinds() {
				if appOf(k) != "two" {
					continue
				}
				s, err := k.Open(t.Context(), w.api, w.through(0, h))
				if err == nil {
					s.Close()
					t.Errorf("%s: the third of two opened", k.Name)
					continue
				}
				no, ok := errors.AsType[*streams.RefusedError](err)
				if !ok || no.Status != http.StatusTooManyRequests && !k.GRPC {
					t.Errorf("%s: %v", k.Name, err)
					continue
				}
				if seconds, err := strconv.Atoi(no.Header.Get("Retry-After")); !k.GRPC && (err != nil || seconds < 1) {
					t.Errorf("%s: Retry-After is %q", k.Name, no.Header.Get("Retry-After"))
				}
			}
			if err := w.short(t.Context(), 0, h); err != nil {
				t.Error(err)
			}
			w.start(t, events, 1, h) // each athd counts its own
			first.Close()
			for end := time.Now().Add(fault); ; time.Sleep(5 * time.Millisecond) {
				s, err := events.Open(t.Context(), w.api, w.through(0, h))
				if err == nil {
					s.Close()
					break
				}
				if time.Now().After(end) {
					t.Fatalf("one has ended, and none opens: %v", err)
				}
			}
		})
	}
}

// short is a call that is answered at once.
func (w *world) short(ctx context.Context, envoy int, h *holder) error {
	c := w.through(envoy, h)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Envoy+c.Prefix+streams.ShortPath, nil)
	if err != nil {
		return err
	}
	r.Host = streams.HostHTTP2
	r.Header.Set("Authorization", "Bearer "+c.Token)
	r.Header.Set("X-Ath-Agent-Id", c.Agent)
	resp, err := w.Client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a short call: %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
