package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// clockSkew is what A-4 allows between the clocks of an agent and of athd.
const clockSkew = 5 * time.Minute

// clockDrift is what is worth a warning.
const clockDrift = 30 * time.Second

// A reading is what somebody's clock said.
type reading struct {
	who    string
	now    time.Time // zero: nothing
	asked  time.Time // by this process's own clock
	coarse bool      // whole seconds
}

type clocks struct {
	mu  sync.Mutex
	all []reading
}

func (c *clocks) add(r reading) {
	if r.now.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.all, func(o reading) bool { return o.who == r.who }) {
		c.all = append(c.all, r)
	}
}

// clock compares this machine's clock with those that have answered. Where none
// agrees with it, it is the one that is wrong.
func (d *doctor) clock(_ context.Context, f *findings) {
	const asked = "whether the clocks agree: this machine's, Redis's, and those of whoever sent a Date"
	if len(d.clocks.all) == 0 {
		f.notAsked("agree", asked, "nobody has said what time it is", "")
		return
	}
	// What Now is off by holds for when they were asked, too.
	off := time.Until(d.Now())
	slices.SortFunc(d.clocks.all, func(a, b reading) int { return strings.Compare(a.who, b.who) })
	type difference struct {
		reading
		ahead time.Duration // of this machine's clock
	}
	var far, near []difference
	worst := time.Duration(0)
	for _, r := range d.clocks.all {
		if r.coarse {
			r.now = r.now.Add(time.Second / 2) // somewhere in that second
		}
		x := difference{r, r.now.Sub(r.asked.Add(off))}
		worst = max(worst, x.ahead.Abs())
		if x.ahead.Abs() > clockDrift {
			far = append(far, x)
		} else {
			near = append(near, x)
		}
	}
	if len(far) == 0 {
		f.ok("agree", asked, fmt.Sprintf("%s, less than %v apart", counted(len(near)+1, "clock"), worst.Truncate(time.Second)+time.Second))
		return
	}
	if len(near) == 0 {
		report := f.warn
		if worst > clockSkew {
			report = f.fault
		}
		var who []string
		for _, x := range far {
			who = append(who, x.who)
		}
		report("agree", asked, fmt.Sprintf("this machine's clock is %s, by %s: attestations are refused where it is more than %v off (A-4), and tokens end at the wrong time", aheadOrBehind(-far[0].ahead), strings.Join(who, ", "), clockSkew),
			"on this machine: timedatectl set-ntp true, or chronyc makestep; timedatectl status shows whether it is synchronised")
		return
	}
	for _, x := range far {
		f.warn("agree", asked, fmt.Sprintf("the clock of %s is %s, while %s with this machine's", x.who, aheadOrBehind(x.ahead), agrees(len(near))),
			"synchronise the clock of "+x.who+": timedatectl set-ntp true, or chronyc makestep there; where it is somebody else's server, tell its operator")
	}
}

func agrees(n int) string {
	if n == 1 {
		return "1 other agrees"
	}
	return fmt.Sprintf("%d others agree", n)
}

func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return d.Abs().Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead"
}
