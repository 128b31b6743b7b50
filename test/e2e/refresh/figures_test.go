package refresh

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/figures"
)

// rounds is how often each fault happens: once with every test.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("ATHD_ROUNDS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("ATHD_ROUNDS is %q", text)
	}
	return n
}

// found is what came of the rounds of one fault.
type found struct {
	mu                           sync.Mutex
	rounds, grants, kept         int
	calls, atOnce, most          int
	requests, unavailable, other int
	longest                      time.Duration // of 503 after the fault
}

func (f *found) add(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// grant counts what became of one user's grant.
func (f *found) grant(c *crew, u *user) {
	kept, l := c.renewed(u), c.endpoint.of(u.first.Refresh.Reveal())
	f.add(func() {
		f.grants++
		f.calls += l.calls
		f.most, f.atOnce = max(f.most, l.calls), max(f.atOnce, l.top)
		if kept {
			f.kept++
		}
	})
}

func (f *found) String() string {
	return fmt.Sprintf("%d rounds, %d grants, %d kept; at most %d calls for one, %d at once; of %d requests %d failed, %d were 503",
		f.rounds, f.grants, f.kept, f.most, f.atOnce, f.requests, f.other, f.unavailable)
}

func (f *found) seen(t *testing.T, figure figures.Figure, more string) {
	t.Helper()
	figure.Seen(t, f.rounds > 0 && f.kept == f.grants && f.most <= 2 && f.atOnce <= 1 && f.other == 0, "%v%s", f, more)
}

// until waits for a condition.
func until(t *testing.T, what string, within time.Duration, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", within, what)
			return
		}
	}
}

// all reports whether every user has new tokens.
func (c *crew) all(users []*user) bool {
	for _, u := range users {
		if !c.renewed(u) {
			return false
		}
	}
	return true
}
