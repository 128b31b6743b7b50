package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/audit"
)

func taken(id string) audit.Event {
	return audit.Event{Kind: audit.TokenRevoked, DecisionID: id}
}

func given(id string) audit.Event {
	return audit.Event{Kind: audit.AgentApproved, DecisionID: id}
}

// took measures by the clock of the bubble.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// proves: U-1
func TestAFullDiskStopsNothingButWhatGivesRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{full: true}
		var log bytes.Buffer
		dropped := 0
		l := audit.New(audit.Config{Writer: d, Logger: slog.New(slog.NewTextHandler(&log, nil)), Dropped: func(n int) { dropped += n }})
		for i, e := range []audit.Event{refused("1"), taken("2"), allowed("3"), {Kind: audit.AgentDenied, DecisionID: "4"}} {
			if d := took(func() { l.Record(t.Context(), e) }); d != 0 {
				t.Errorf("event %d took %v", i, d)
			}
		}
		for range 3 {
			if err := l.Commit(given("never")); !errors.Is(err, audit.ErrUnwritten) || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("what gives rights: %v", err)
			}
		}
		if err := l.Ready(); !errors.Is(err, audit.ErrUnwritten) {
			t.Errorf("ready: %v", err)
		}
		if n, err := l.Unwritten(); n != 4 || err == nil {
			t.Errorf("%d unwritten, %v", n, err)
		}
		synctest.Wait()
		if !strings.Contains(log.String(), "audit log unavailable") {
			t.Errorf("the log says %q", &log)
		}
		d.fill(false)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := d.ids(); got != "1 2 3 4" {
			t.Errorf("a second after the disk had room again it has %q", got)
		}
		if n, err := l.Unwritten(); n != 0 || err != nil {
			t.Errorf("%d unwritten, %v", n, err)
		}
		if !strings.Contains(log.String(), "audit log available") {
			t.Errorf("the log says %q", &log)
		}
		if err := l.Commit(given("5")); err != nil {
			t.Error(err)
		}
		l.Close()
		if got := d.ids(); got != "1 2 3 4 5" || dropped != 0 {
			t.Errorf("the disk has %q, %d dropped", got, dropped)
		}
	})
}

// The first that notices may be what gives rights, and what it reported was not
// done.
// proves: U-1
func TestWhatWasRefusedForItsEventIsNotOnRecordAsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{full: true}
		l := audit.New(audit.Config{Writer: d})
		for range 2 {
			if err := l.Commit(given("never")); !errors.Is(err, audit.ErrUnwritten) {
				t.Fatal(err)
			}
		}
		l.Record(t.Context(), refused("1"))
		d.fill(false)
		if err := l.Commit(given("2")); err != nil { // at once, and takes along what waits
			t.Error(err)
		}
		if got := d.ids(); got != "1 2" {
			t.Errorf("the disk has %q", got)
		}
		d.fill(true)
		for range 100 {
			l.Record(t.Context(), refused("x"))
		}
		if d.tries > 20 {
			t.Errorf("a full disk is tried for each event: %d times", d.tries)
		}
	})
}

// proves: U-1
func TestAWriterThatHangsDelaysNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{stuck: make(chan struct{})}
		var log bytes.Buffer
		l := audit.New(audit.Config{Writer: d, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if d := took(func() { l.Record(t.Context(), taken("1")) }); d > 250*time.Millisecond {
			t.Errorf("the first took %v", d)
		}
		for _, e := range []audit.Event{refused("2"), taken("3"), allowed("4")} {
			if d := took(func() { l.Record(t.Context(), e) }); d != 0 {
				t.Errorf("%s took %v", e.Kind, d)
			}
		}
		if d := took(func() {
			if err := l.Commit(given("never")); !errors.Is(err, audit.ErrUnwritten) {
				t.Error(err)
			}
		}); d != 0 {
			t.Errorf("what gives rights took %v", d)
		}
		synctest.Wait()
		if n, err := l.Unwritten(); n != 4 || err == nil || !strings.Contains(log.String(), "audit log unavailable") {
			t.Errorf("%d unwritten, %v, the log says %q", n, err, &log)
		}
		close(d.stuck)
		synctest.Wait()
		if got := d.ids(); got != "1 2 3 4" {
			t.Errorf("the disk has %q", got)
		}
		if err := l.Commit(given("5")); err != nil {
			t.Error(err)
		}
	})
}

func TestAWriterThatHangsDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{stuck: make(chan struct{})}
		lost := 0
		l := audit.New(audit.Config{Writer: d, Dropped: func(n int) { lost += n }})
		l.Record(t.Context(), refused("1"))
		if d := took(l.Close); d > 3*time.Second || lost != 1 {
			t.Errorf("it took %v, and %d are lost", d, lost)
		}
		close(d.stuck)
	})
}

var wholeLine = regexp.MustCompile(`^time=.* decision_id=id-\d\n$`)

// A disk that fills up may take half a line. No other line is spoiled by it,
// and none is missing or there twice.
func TestALineThatWasCutComesAgainWhole(t *testing.T) {
	for room := range 700 {
		synctest.Test(t, func(t *testing.T) {
			d := &disk{full: true, room: room}
			l := audit.New(audit.Config{Writer: d})
			for i := range 3 {
				l.Record(t.Context(), refused(fmt.Sprintf("id-%d", i)))
			}
			d.fill(false)
			time.Sleep(2 * time.Second)
			l.Record(t.Context(), refused("id-3"))
			l.Close()
			whole := map[string]int{}
			for line := range strings.Lines(strings.Join(d.writes, "")) {
				if wholeLine.MatchString(line) {
					whole[line]++
				}
			}
			if len(whole) != 4 || strings.Count(strings.Join(d.writes, ""), "time=") > 5 {
				t.Errorf("with room for %d bytes: %q", room, d.writes)
			}
		})
	}
}

// proves: U-1
func TestOfTooManyEventsRevocationsAreDroppedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{full: true}
		dropped := 0
		l := audit.New(audit.Config{Writer: d, Dropped: func(n int) { dropped += n }})
		const sent = 100_000 // 20 MiB
		for range sent {
			l.Record(t.Context(), refused("flood"))
		}
		if dropped == 0 || dropped > sent/2 {
			t.Fatalf("%d of %d refusals were dropped", dropped, sent)
		}
		before := dropped
		l.Record(t.Context(), allowed("also-dropped"))
		for i := range 1000 {
			l.Record(t.Context(), taken(fmt.Sprintf("taken-%d", i)))
		}
		if dropped != before+1 {
			t.Errorf("%d more were dropped, want that of a call alone", dropped-before)
		}
		d.fill(false)
		l.Close()
		all := strings.Join(d.writes, "")
		if strings.Count(all, "taken-") != 1000 || strings.Count(all, "\n") != sent+1000+1-dropped || strings.Contains(all, "also-dropped") {
			t.Errorf("%d lines came, %d dropped", strings.Count(all, "\n"), dropped)
		}
	})
}

func TestTroubleIsLoggedOncePerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{full: true}
		var log bytes.Buffer
		dropped := 0
		l := audit.New(audit.Config{Writer: d, Logger: slog.New(slog.NewTextHandler(&log, nil)), Dropped: func(n int) { dropped += n }})
		for range 90 {
			l.Record(t.Context(), refused("1"))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if got := numbers(log.String(), "waiting="); len(got) != 2 || got[0] != 1 || got[1] < 59 || got[1] > 62 {
			t.Errorf("the log reports %v waiting", got)
		}
		l.Close()
		if got := numbers(log.String(), "dropped="); len(got) != 1 || got[0] != 90 || dropped != 90 {
			t.Errorf("in the end the log reports %v dropped, counted are %d", got, dropped)
		}
	})
}

func TestRequestsCanGoElsewhere(t *testing.T) {
	events, requests := new(disk), &disk{full: true}
	l := audit.New(audit.Config{Writer: events, Requests: requests})
	l.Record(t.Context(), allowed("1"))
	l.Record(t.Context(), refused("2"))
	if err := l.Commit(given("3")); err != nil {
		t.Errorf("the other writer's trouble: %v", err)
	}
	if n, err := l.Unwritten(); n != 1 || err != nil {
		t.Errorf("%d unwritten, %v", n, err)
	}
	requests.fill(false)
	l.Close()
	if events.ids() != "2 3" || requests.ids() != "1" {
		t.Errorf("events %q, requests %q", events.ids(), requests.ids())
	}
}

// Whoever commits while the disk comes and goes: what was acknowledged is
// there, what was refused is not, and each but once.
func TestCommittingTogetherOnADiskThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		l := audit.New(audit.Config{Writer: d})
		var mu sync.Mutex
		done, not := map[string]bool{}, map[string]bool{}
		var committing sync.WaitGroup
		for i := range 8 {
			committing.Go(func() {
				for j := range 100 {
					id := fmt.Sprintf("%d-%d", i, j)
					err := l.Commit(given(id))
					mu.Lock()
					if err == nil {
						done[id] = true
					} else {
						not[id] = true
					}
					mu.Unlock()
					time.Sleep(time.Millisecond)
				}
			})
		}
		for k := range 50 {
			d.fill(k%2 == 0)
			time.Sleep(2 * time.Millisecond)
		}
		d.fill(false)
		committing.Wait()
		l.Close()
		if len(done) == 0 || len(not) == 0 {
			t.Fatalf("%d done, %d not", len(done), len(not))
		}
		count := map[string]int{}
		for id := range strings.FieldsSeq(d.ids()) {
			count[id]++
		}
		for id := range done {
			if count[id] != 1 {
				t.Errorf("%s is on record %d times", id, count[id])
			}
		}
		strays := 0
		for id := range not {
			strays += count[id]
		}
		t.Logf("%d done, %d not, %d of those on record", len(done), len(not), strays)
	})
}
