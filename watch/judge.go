package watch

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
)

// A task is a stream that is to be judged again, because of what happened at since.
type task struct {
	stream *Stream
	since  time.Time
	sweep  bool // there was time for it
}

// hit has a stream judged at once. The caller holds mu.
func (r *Registry) hit(s *Stream, since time.Time) {
	if s.over || s.urgent {
		return
	}
	s.urgent = true
	r.urgent = append(r.urgent, task{stream: s, since: since})
}

// visit has a stream judged when there is time. The caller holds mu.
func (r *Registry) visit(s *Stream, since time.Time) {
	if s.over || s.urgent || s.sweep {
		return
	}
	s.sweep = true
	r.sweep = append(r.sweep, task{stream: s, since: since, sweep: true})
}

// JudgeAll has all calls judged again, some thousand a second: of another policy, or
// where the change feed does not know what happened.
func (r *Registry) JudgeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visitAll()
}

func (r *Registry) visitAll() {
	now := time.Now()
	for _, s := range r.ends {
		r.visit(s, now)
	}
	r.work()
}

// replaced has those calls judged again whose provider is another one now. It is
// called after the decider has been, which was there first.
func (r *Registry) replaced(set *provider.Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone, come := provider.Diff(r.known, set)
	r.known = set
	now := time.Now()
	for _, p := range slices.Concat(gone, come) {
		r.index.providers[p.ID].each(byProvider, func(s *Stream) { r.hit(s, now) })
	}
	r.work()
}

// work starts as many judges as there is work for that nobody is about to take: those
// at work may wait for the store for long. The caller holds mu.
func (r *Registry) work() {
	for r.judging < judges && r.judging-r.atWork < len(r.urgent)+r.sweepable() {
		r.judging++
		r.busy.Go(r.judge)
	}
}

// sweepable is how many tasks of sweep may be taken now. The caller holds mu.
func (r *Registry) sweepable() int {
	return min(len(r.sweep), r.allowed, sweepers-r.sweeping)
}

// next returns a stream that waits, and what it holds. It ends the task before.
func (r *Registry) next(before task) (t task, held authz.Held, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before.stream != nil {
		r.atWork--
		if before.sweep {
			r.sweeping--
		}
	}
	for {
		switch {
		case len(r.urgent) > 0:
			t, r.urgent = r.urgent[0], r.urgent[1:]
			t.stream.urgent = false
		case r.sweepable() > 0:
			t, r.sweep = r.sweep[0], r.sweep[1:]
			t.stream.sweep = false
		default:
			if len(r.urgent)+len(r.sweep) == 0 { // let go of what held them
				r.urgent, r.sweep = nil, nil
			}
			r.judging--
			return task{}, authz.Held{}, false
		}
		if t.stream.over {
			continue
		}
		r.atWork++
		if t.sweep {
			r.sweeping++
			r.allowed--
		}
		return t, t.stream.held, true
	}
}

// judge judges until nothing waits. What happens to a stream meanwhile has it judged
// once more.
func (r *Registry) judge() {
	var t task
	for {
		var held authz.Held
		var ok bool
		if t, held, ok = r.next(t); !ok {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), judgeTime)
		h := r.config.Holds(ctx, held)
		cancel()
		r.mu.Lock()
		if reason := r.take(t.stream, h); reason != "" {
			r.end(t.stream, reason, t.since)
		}
		r.mu.Unlock()
	}
}

// take notes a judgement, and returns why the call ends by it; "": it does not. The
// caller holds mu.
func (r *Registry) take(s *Stream, h authz.Holding) Reason {
	if h.User != "" {
		s.user = h.User
	}
	switch {
	case s.over:
		return ""
	case h.Temporary():
		if s.doubted.IsZero() {
			s.doubted = time.Now()
			r.doubted = append(r.doubted, s)
		}
		return ""
	case h.Reason == "":
		return Reason(authz.InternalError)
	case !h.Holds():
		return Reason(h.Reason)
	}
	s.doubted, s.judged = time.Time{}, r.config.Now()
	if !h.Until.Equal(s.until) {
		s.until = h.Until
		heap.Fix(&r.ends, s.place)
		r.endsMoved(s)
	}
	return ""
}
