package audit

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Of refusals that one address causes for one reason, and of those that one grant
// causes by too many calls, so many within a minute are written as they are. Those beyond are counted, and one event at the end
// of the minute says how many they were ([Event.Count]): refusals cost an
// attacker nothing, and must not cost others their log.
const (
	floodAfter  = 600
	floodMinute = time.Minute
	// maxFloods bounds what is counted apart. Addresses beyond are one.
	maxFloods = 1 << 12
)

type floodKey struct {
	kind           Kind
	reason, client string
	grant          [3]string // agent, user and provider, of what repeats
}

type flood struct {
	start time.Time
	seen  int
	last  Event // of those that were only counted
	count int   // of them
}

type floods struct {
	later func() // is called when a minute has ended in which something was counted

	mu    sync.Mutex
	byKey map[floodKey]*flood
	timer *time.Timer // runs while anything is counted
}

// swallow counts a refusal that is one of too many, and reports whether it did.
// What an agent with a grant, or an operator, was answered is never one, but for
// what says so itself.
func (f *floods) swallow(now time.Time, e *Event) bool {
	switch e.Kind {
	case AccessDenied, AttestationFailed, AgentRegistrationDenied:
	default:
		return false
	}
	if e.Reason == "" || e.UserID != "" && !e.Repeats || e.By != "" || e.Client == "" && !e.Repeats || e.Count > 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey == nil {
		f.byKey = map[floodKey]*flood{}
	}
	key := floodKey{kind: e.Kind, reason: e.Reason, client: e.Client}
	if e.Repeats {
		key.grant = [3]string{e.AgentID, e.UserID, e.ProviderID}
	}
	x := f.byKey[key]
	if x == nil && len(f.byKey) >= maxFloods {
		f.forget(now)
		if len(f.byKey) >= maxFloods {
			key.client, key.grant = "", [3]string{}
			x = f.byKey[key]
		}
	}
	if x == nil {
		x = &flood{start: now}
		f.byKey[key] = x
	}
	if x.count == 0 && now.Sub(x.start) >= floodMinute {
		x.start, x.seen = now, 0
	}
	if x.seen++; x.seen <= floodAfter {
		return false
	}
	x.count++
	x.last = *e
	x.last.Client = key.client
	if f.timer == nil {
		f.timer = time.AfterFunc(floodMinute, f.later)
	}
	return true
}

// forget drops what is over and was reported. f.mu is held.
func (f *floods) forget(now time.Time) {
	for key, x := range f.byKey {
		if x.count == 0 && now.Sub(x.start) >= floodMinute {
			delete(f.byKey, key)
		}
	}
}

// ended returns an event for each flood, and starts again.
func (f *floods) ended(now time.Time) []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Event
	for key, x := range f.byKey {
		if x.count == 0 {
			continue
		}
		e := x.last
		e.Count, e.Time = x.count, now
		if x.count > 1 && key.grant == [3]string{} {
			e.AgentID, e.UserID, e.ProviderID = "", "", "" // of many
			e.Requested, e.Effective, e.Denied = nil, nil, nil
		}
		out = append(out, e)
		delete(f.byKey, key)
	}
	f.forget(now)
	f.timer = nil
	slices.SortFunc(out, func(a, b Event) int { return cmp.Compare(b.Count, a.Count) })
	return out
}
