package streams

import (
	"crypto/rand"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/streams"
)

// A stream whose first event is late is heard of when its reply's head comes. Where
// its token was revoked meanwhile nothing of it reaches the agent, who is answered as
// at a new call.
// proves: V-2
func TestAStreamDoesNotBeginAfterItsTokenEnded(t *testing.T) {
	for _, how := range watched {
		t.Run(how.name, func(t *testing.T) {
			w := newWorld(t, setup{envoy: how.envoy})
			for _, name := range []string{"events over HTTP/1", "events over HTTP/2"} {
				k, id := streams.Find(name), rand.Text()
				k.Query = "after=500ms&id=" + id
				h := w.hold(appOf(k), time.Hour)
				opened := make(chan error, 1)
				go func() {
					s, err := k.Open(t.Context(), w.api, w.through(0, h))
					if err == nil {
						s.Close()
					}
					opened <- err
				}()
				<-w.api.Began(id)
				if err := w.revoke(1, h, h.token.Secret()); err != nil {
					t.Fatal(err)
				}
				no, ok := errors.AsType[*streams.RefusedError](<-opened)
				if !ok || no.Status != http.StatusUnauthorized {
					t.Errorf("%s: it began, though its token was revoked before: %v", name, no)
				}
			}
			w.noneLeft(t)
		})
	}
}
