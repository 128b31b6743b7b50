package watch

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	// lossAfter is how long nobody can be asked before calls end, unless they are to
	// be kept.
	lossAfter = 5 * time.Second
	// judgeEvery is how often a call is judged again of which nothing was heard: for
	// what no feed reports, as a connection that a provider ended at a refresh.
	judgeEvery = time.Minute
	// tick is how often all of this is looked at.
	tick = 250 * time.Millisecond
	// judges is how many calls are judged at once. The store reads them together.
	judges = 64
	// sweepers is how many of them may be at work on what there is time for, also where
	// the part of the store hangs that these ask: what is urgent does not wait for it.
	sweepers = judges / 2
	// sweepRate is how many are judged again in a second of which nothing is known,
	// beside those that something is known of.
	sweepRate = 4000
	// judgeTime is how long one judgement may take.
	judgeTime = 2 * time.Second
)

// Changes are those of the change feed, for one consumer. [tokenstore.Watch] is the one
// that serves.
type Changes interface {
	Next(ctx context.Context) (tokenstore.Change, error)
	Age() time.Duration
	Close()
}

// Config configures a [Registry].
type Config struct {
	// Holds judges a call again: [authz.Decider.Holds].
	Holds func(context.Context, authz.Held) authz.Holding
	// Changes opens the change feed.
	Changes   func() Changes
	Providers *provider.Providers
	Limits    Limits
	Keep      bool // calls go on where nobody can be asked, and where athd stops
	Audit     *audit.Log
	Logger    *slog.Logger

	Now func() time.Time // nil: time.Now

	// For metrics; each may be nil. Ended is told how long after the cause a call ended.
	Ended   func(r Reason, took time.Duration)
	Refused func(limit string)
}

// A Registry has the calls of this replica that are under watch. It is safe for
// concurrent use.
type Registry struct {
	config Config
	poke   chan struct{} // holds one where the first end is another one
	busy   sync.WaitGroup

	mu        sync.Mutex
	limits    Limits
	keep      bool
	index     index
	ends      ends
	urgent    []task // to be judged, first in first out
	sweep     []task // the same, when there is time
	allowed   int    // of sweep, by now
	judging   int    // judges
	atWork    int    // those of them that have a task
	sweeping  int    // those whose task is of sweep
	doubted   []*Stream
	running   bool // the change feed is followed
	draining  bool
	known     *provider.Set
	events    []audit.Event // to be recorded
	recording bool
}

// New returns a registry that takes nothing under watch before [Registry.Run].
func New(c Config) (*Registry, error) {
	for name, missing := range map[string]bool{
		"Holds": c.Holds == nil, "Changes": c.Changes == nil, "Providers": c.Providers == nil, "Audit": c.Audit == nil, "Logger": c.Logger == nil,
	} {
		if missing {
			return nil, errors.New("watch: " + name + " is required")
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Ended == nil {
		c.Ended = func(Reason, time.Duration) {}
	}
	if c.Refused == nil {
		c.Refused = func(string) {}
	}
	r := &Registry{config: c, limits: c.Limits, keep: c.Keep, allowed: sweepRate, index: newIndex(), poke: make(chan struct{}, 1)}
	c.Providers.Each(r.replaced)
	return r, nil
}

// Use has the registry follow other settings. Calls that are watched go on, also
// where limits are narrower now.
func (r *Registry) Use(l Limits, keep bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits, r.keep = l, keep
}

// stopping is why calls end where athd stops. The caller holds mu.
func (r *Registry) stopping() Reason {
	if r.keep {
		return Released
	}
	return Draining
}

// Len is how many calls are under watch.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ends)
}

// Begin takes a call under watch, and judges it again. The error is a [*Refusal]:
// where there is one, the call must not go on.
func (r *Registry) Begin(ctx context.Context, c Call) (*Stream, error) {
	s, err := r.register(c)
	if err != nil {
		return nil, err
	}
	// From here on whatever takes something from the call finds it. What took
	// something before, the store tells.
	ctx, cancel := context.WithTimeout(ctx, judgeTime)
	defer cancel()
	h := r.config.Holds(ctx, c.Held) // s may be judged meanwhile, which is under mu
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.over { // by what came meanwhile
		return nil, &Refusal{Reason: s.reason, Decision: c.Decision}
	}
	reason := r.take(s, h)
	if reason == "" && h.Temporary() {
		reason = Reason(h.Reason)
	}
	if reason != "" {
		r.drop(s)
		return nil, &Refusal{Reason: reason, Decision: c.Decision}
	}
	return s, nil
}

// register enters a call that nobody has judged again yet.
func (r *Registry) register(c Call) (*Stream, error) {
	held := c.Held
	// The parts of a text would keep the whole of it.
	held.Tag, held.Scope = ath.Tag(strings.Clone(string(held.Tag))), strings.Clone(held.Scope)
	held.Agent, held.Provider = strings.Clone(held.Agent), strings.Clone(held.Provider)
	s := &Stream{
		registry: r, held: held, decision: strings.Clone(c.Decision), agentTag: ath.AgentTag(held.Agent),
		until: held.Until, ended: c.Ended, since: r.config.Now(),
	}
	if reason, limit := r.enter(s); reason != "" {
		if limit != "" {
			r.config.Refused(limit)
			refused := s.event(audit.AccessDenied, string(reason))
			refused.Repeats = true // as often as the agent tries
			r.config.Audit.Record(context.Background(), refused)
		}
		return nil, &Refusal{Reason: reason, Limit: limit, Decision: c.Decision}
	}
	return s, nil
}

// enter returns why a call does not get in, and the limit that is reached.
func (r *Registry) enter(s *Stream) (_ Reason, limit string) {
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case s.held.IsZero() || s.decision == "" || s.ended == nil:
		return Reason(authz.InternalError), ""
	case r.draining:
		return Draining, ""
	case !r.running:
		return Reason(authz.StoreUnavailable), ""
	case !now.Before(s.until):
		return Reason(authz.TokenExpired), ""
	case count(r.index.grants, s.held.Grant) >= r.limits.PerGrant:
		return TooManyStreams, limitPerGrant
	case count(r.index.agents, s.agentTag) >= r.limits.PerAgent:
		return TooManyStreams, limitPerAgent
	case len(r.ends) >= r.limits.Total:
		return TooManyStreams, limitTotal
	}
	r.index.add(s)
	heap.Push(&r.ends, s)
	r.endsMoved(s)
	s.judged = now
	return "", ""
}

// drop takes a stream out of all that leads to it. It may be out already. The caller
// holds mu.
func (r *Registry) drop(s *Stream) {
	if s.over {
		return
	}
	s.over = true
	r.index.remove(s)
	heap.Remove(&r.ends, s.place)
}

// end has a call end. The caller holds mu.
func (r *Registry) end(s *Stream, why Reason, since time.Time) {
	if s.over {
		return
	}
	r.drop(s)
	s.reason = why
	s.ended(why)
	r.config.Ended(why, max(0, time.Since(since)))
	r.record(s.event(audit.StreamEnded, string(why)))
}

// event is what is recorded of a call.
func (s *Stream) event(kind audit.Kind, why string) audit.Event {
	return audit.Event{
		Kind: kind, AgentID: s.held.Agent, UserID: s.user, ProviderID: s.held.Provider, Reason: why, DecisionID: s.decision,
	}
}

// record writes events beside, in order: a write may take its time, and what ends
// does not wait for it. The caller holds mu.
func (r *Registry) record(e audit.Event) {
	r.events = append(r.events, e)
	if r.recording {
		return
	}
	r.recording = true
	r.busy.Go(func() {
		for {
			r.mu.Lock()
			events := r.events
			r.events = nil
			r.recording = len(events) > 0
			r.mu.Unlock()
			if len(events) == 0 {
				return
			}
			for _, e := range events {
				r.config.Audit.Record(context.Background(), e)
			}
		}
	})
}
