package revocation

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

func TestAPanicEndsNeitherAthdNorTheQueue(t *testing.T) {
	w := newWorld(t, "", 1)
	w.end(w.connect("alice", "r1"))
	w.answer = func() (provider.Revoked, error) { panic("a fault") }
	w.work()
	w.want(map[string]int{}, "r1") // and not at once again
	w.answer = nil
	w.end(w.connect("bob", "r2"))
	w.work()
	w.want(map[string]int{"revoked": 1}, "r1", "r2")
	w.pass(lookAgain + time.Second)
	w.work()
	w.want(map[string]int{"revoked": 2}, "r1", "r2", "r1")
	if n := w.length(); n != 0 {
		t.Errorf("%d are queued", n)
	}
}

// A stuck store takes no changes of what is queued.
type stuck struct{ Store }

func (stuck) TakeRevocation(_ context.Context, old tokenstore.Held[tokenstore.Revocation]) (tokenstore.Held[tokenstore.Revocation], error) {
	return old, errors.New("no")
}

// A full batch of entries that all fail is no reason to look again at once.
func TestAQueueThatDoesNotMoveIsNotLookedAtAtOnce(t *testing.T) {
	w := newWorld(t, "", 1)
	for i := range batch + 1 {
		w.end(w.connect(fmt.Sprint("user", i), fmt.Sprint("r", i)))
	}
	store := w.workers[0].Store
	w.workers[0].Store = stuck{store}
	if w.workers[0].round() {
		t.Error("the next round is at once")
	}
	w.workers[0].Store = store
	if !w.workers[0].round() {
		t.Error("though there are more, the next round is later")
	}
}
