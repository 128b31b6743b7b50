package vault_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/athd/athd/test/harness/figures"
)

// chaosFigures are what came of the rounds, by fault.
type chaosFigures struct {
	mu sync.Mutex
	by map[string]*chaosFigure
}

type chaosFigure struct {
	rounds, grants, renewed, lost  int
	gone, unread, exposed          int // see chaos.judge
	calls, twice, atOnce           int
	decisions, unavailable, failed int
}

func (f *chaosFigures) add(fault string, change func(*chaosFigure)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by[fault] == nil {
		f.by[fault] = &chaosFigure{}
	}
	change(f.by[fault])
}

func (f *chaosFigures) print(t *testing.T) {
	const line = "%-34s %6v %6v %7v %5v %5v %6v %7v %6v %5v %7v %9v %6v %6v\n"
	out := fmt.Sprintf(line, "fault", "rounds", "grants", "renewed", "lost", "gone", "unread", "exposed", "calls", "two", "at once", "decisions", "503", "failed")
	var all chaosFigure
	bounded := true
	for _, fault := range chaosFaults {
		g := f.by[fault]
		if g == nil {
			continue
		}
		out += fmt.Sprintf(line, fault, g.rounds, g.grants, g.renewed, g.lost, g.gone, g.unread, g.exposed, g.calls, g.twice, g.atOnce, g.decisions, g.unavailable, g.failed)
		if g.gone+g.unread > g.exposed || g.gone > 0 && fault != athdKilled {
			bounded = false
			t.Errorf("%s: %d answers gone and %d unread, of %d calls that it struck", fault, g.gone, g.unread, g.exposed)
		}
		all.rounds += g.rounds
		all.grants += g.grants
		all.renewed += g.renewed
		all.lost += g.lost
		all.gone += g.gone
		all.unread += g.unread
		all.exposed += g.exposed
		all.failed += g.failed
		all.atOnce = max(all.atOnce, g.atOnce)
	}
	t.Logf("lost: the answer was read by an athd that was not killed before it could store it\n"+
		"gone: it was read by an athd that was killed then\n"+
		"unread: no athd that ran read it before there was another call\n"+
		"exposed: calls that were under way at who was struck\n%s", out)
	figures.Rounds.Seen(t, all.lost == 0 && all.failed == 0 && all.atOnce <= 1 && all.renewed+all.gone+all.unread == all.grants,
		"%d rounds, %d grants: %d lost, %d requests failed, %d call at once", all.rounds, all.grants, all.lost, all.failed, all.atOnce)
	figures.Exception.Seen(t, bounded, "%d of %d calls that were struck: %d answers that nobody read in time, %d killed before the write",
		all.unread+all.gone, all.exposed, all.unread, all.gone)
}
