package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
)

// A disk remembers each write. It can be full, and it can be stuck.
type disk struct {
	mu     sync.Mutex
	writes []string
	full   bool
	room   int // bytes that a full disk takes all the same
	tries  int
	stuck  chan struct{} // nil: not stuck
}

func (d *disk) Write(p []byte) (int, error) {
	if d.stuck != nil {
		<-d.stuck
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	if d.full {
		n := min(d.room, len(p))
		if d.room -= n; n > 0 {
			d.writes = append(d.writes, string(p[:n]))
		}
		return n, errors.New("no space left")
	}
	d.writes = append(d.writes, string(p))
	return len(p), nil
}

func (d *disk) fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// ids are the decision_ids of all that was written, in order.
func (d *disk) ids() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for line := range strings.Lines(strings.Join(d.writes, "")) {
		_, id, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " decision_id=")
		ids = append(ids, id)
	}
	return strings.Join(ids, " ")
}

// numbers finds the numbers after a word.
func numbers(text, word string) (found []int) {
	for i, part := range strings.Split(text, word) {
		var n int
		if _, err := fmt.Sscanf(part, "%d", &n); err == nil && i > 0 {
			found = append(found, n)
		}
	}
	return found
}

// allowed and refused are events that can wait, and that cannot.
func allowed(id string) audit.Event {
	return audit.Event{Kind: audit.ProxyRequest, AgentID: "a", Effective: ath.Scopes{"read"}, DecisionID: id}
}

func refused(id string) audit.Event {
	return audit.Event{Kind: audit.AccessDenied, Reason: "token_expired", DecisionID: id}
}

func wantWrites(t *testing.T, d *disk, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.writes) != len(want) {
		t.Fatalf("%d writes, want %d: %q", len(d.writes), len(want), d.writes)
	}
	for i, ids := range want {
		lines := strings.Split(strings.TrimSuffix(d.writes[i], "\n"), "\n")
		if len(lines) != len(strings.Fields(ids)) {
			t.Errorf("write %d has %d lines, want %s", i, len(lines), ids)
			continue
		}
		for j, id := range strings.Fields(ids) {
			if !strings.HasSuffix(lines[j], " decision_id="+id) {
				t.Errorf("write %d, line %d is %q, want %s", i, j, lines[j], id)
			}
		}
	}
}

func TestOnlyAllowedRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		l := audit.New(audit.Config{Writer: d, Late: 50 * time.Millisecond})
		l.Record(t.Context(), allowed("1"))
		time.Sleep(30 * time.Millisecond)
		l.Record(t.Context(), allowed("2"))
		wantWrites(t, d)
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		wantWrites(t, d, "1 2") // in one write, 50 ms after the first

		l.Record(t.Context(), allowed("3"))
		for i, e := range []audit.Event{
			refused("4"), {Kind: audit.ScopeViolation, DecisionID: "4"}, {Kind: audit.AccessGranted, DecisionID: "4"},
			{Kind: audit.AgentSuspended, DecisionID: "4"}, {Kind: audit.ProxyRequest, Reason: "some", DecisionID: "4"},
		} {
			l.Record(t.Context(), e)
			d.mu.Lock()
			n := len(d.writes)
			d.mu.Unlock()
			if n != i+2 {
				t.Errorf("%s was not written when Record returned", e.Kind)
			}
		}
		wantWrites(t, d, "1 2", "3 4", "4", "4", "4", "4") // and took along what waited
		time.Sleep(time.Second)
		synctest.Wait()
		wantWrites(t, d, "1 2", "3 4", "4", "4", "4", "4")

		l.Record(t.Context(), allowed("5"))
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		l.Record(t.Context(), allowed("6"))
		l.Close()
		wantWrites(t, d, "1 2", "3 4", "4", "4", "4", "4", "5", "6")
		l.Record(t.Context(), allowed("7")) // a late decision of a server that ends
		wantWrites(t, d, "1 2", "3 4", "4", "4", "4", "4", "5", "6", "7")
	})
}

func TestWithoutLateNoEventWaits(t *testing.T) {
	d := new(disk)
	l := audit.New(audit.Config{Writer: d})
	l.Record(t.Context(), allowed("1"))
	wantWrites(t, d, "1")
}

// A writer that is stuck keeps refusals waiting, and loses what can be lost
// only when there is too much of it.
func TestOnlyAllowedRequestsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sent = 10_000
		d := &disk{stuck: make(chan struct{})}
		var log bytes.Buffer
		dropped, counted := 0, 0
		l := audit.New(audit.Config{
			Writer: d, Late: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Dropped: func(n int) { dropped += n }, Count: func(audit.Event) { counted++ },
		})
		written := make(chan bool)
		go func() {
			l.Record(context.Background(), refused("never-dropped"))
			close(written)
		}()
		synctest.Wait()
		select {
		case <-written:
			t.Error("a refusal was acknowledged before it was written")
		default:
		}
		for range sent {
			l.Record(t.Context(), allowed("late"))
		}
		close(d.stuck)
		<-written
		l.Close()
		synctest.Wait() // for who writes to the log
		all := strings.Join(d.writes, "")
		if n := strings.Count(all, "\n"); n != sent+1-dropped || dropped == 0 || counted != sent+1 {
			t.Errorf("%d events counted, %d written, %d dropped", counted, n, dropped)
		}
		if strings.Count(all, "never-dropped") != 1 {
			t.Error("the refusal was not written")
		}
		if told := numbers(log.String(), "dropped="); len(told) != 2 || told[0] != 1 || told[1] != dropped-1 {
			t.Errorf("the log reports %v dropped, want the first at once and all %d of them in the end", told, dropped)
		}
	})
}

func TestRecordingTogether(t *testing.T) {
	d := new(disk)
	l := audit.New(audit.Config{Writer: d, Late: time.Millisecond})
	var recording sync.WaitGroup
	for i := range 8 {
		recording.Go(func() {
			for j := range 200 {
				e := allowed(fmt.Sprintf("%d-%d", i, j))
				if j%10 == 0 {
					e = refused(e.DecisionID)
				}
				l.Record(t.Context(), e)
			}
		})
	}
	recording.Wait()
	l.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	last := make([]int, 8)
	n := 0
	for line := range strings.Lines(strings.Join(d.writes, "")) {
		_, id, _ := strings.Cut(strings.TrimSpace(line), " decision_id=")
		var i, j int
		if _, err := fmt.Sscanf(id, "%d-%d", &i, &j); err != nil || j != last[i] {
			t.Fatalf("%q: want number %d", line, last[i])
		}
		last[i]++
		n++
	}
	if n != 8*200 {
		t.Errorf("%d lines", n)
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	l := audit.New(audit.Config{Writer: io.Discard, JSON: true, Late: time.Hour})
	e := allowed("dec_LGp-nu1KUjtWVZez")
	l.Record(t.Context(), refused("1")) // two, for both buffers
	l.Record(t.Context(), refused("1"))
	if got := testing.AllocsPerRun(100, func() { l.Record(context.Background(), e) }); got > 0.5 {
		t.Errorf("%v allocations", got)
	}
}
