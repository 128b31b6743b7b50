package watch

import (
	"context"
	"time"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/tokenstore"
)

// Run follows the change feed and the clock until ctx ends. What is still under watch
// then ends.
func (r *Registry) Run(ctx context.Context) {
	changes := r.config.Changes()
	defer changes.Close()
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	r.busy.Go(func() { r.follow(ctx, changes) })
	r.keepTime(ctx, changes)
	r.mu.Lock()
	r.running = false
	r.endAll(r.stopping())
	r.mu.Unlock()
	r.busy.Wait()
}

// follow has those calls judged again that a change concerns.
func (r *Registry) follow(ctx context.Context, changes Changes) {
	for {
		c, err := changes.Next(ctx)
		if err != nil {
			return
		}
		r.changed(c, time.Now())
	}
}

func (r *Registry) changed(c tokenstore.Change, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hit := func(s *Stream) { r.hit(s, now) }
	switch c.Kind {
	case tokenstore.Everything:
		r.visitAll()
	case tokenstore.AgentChanged:
		r.index.agents[c.Tag].each(byAgent, hit)
	case tokenstore.GrantEnded:
		r.index.grants[c.Digest].each(byGrant, hit)
	case tokenstore.RenewalEnded, tokenstore.ConnectionEnded:
		r.index.connections[c.Tag].each(byConnection, hit)
	case tokenstore.ProviderChanged, tokenstore.IssuerChanged:
		// They come with another set of providers.
	default: // of an athd that is newer
		r.index.agents[c.Tag].each(byAgent, hit)
		r.index.connections[c.Tag].each(byConnection, hit)
	}
	r.work()
}

// keepTime ends calls at their end, looks after those about which nobody could be
// asked, and has the others judged again now and then.
func (r *Registry) keepTime(ctx context.Context, changes Changes) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	end := time.NewTimer(tick)
	defer end.Stop()
	heard, lost := time.Now(), false // when the change feed was last known to be followed
	for turn := 1; ; {
		end.Reset(r.endEnds())
		select {
		case <-ctx.Done():
			return
		case <-r.poke:
		case <-end.C:
		case <-ticks.C:
			now := time.Now()
			if age := changes.Age(); age < lossAfter {
				heard = now.Add(-age)
			}
			was := lost
			lost = now.Sub(heard) > lossAfter
			r.look(now, lost, was, turn%4 == 0)
			turn++
		}
	}
}

// look is called each tick.
func (r *Registry) look(now time.Time, lost, was, sweep bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.ends)
	switch {
	case lost && !r.keep:
		r.endAll(Reason(authz.StoreUnavailable))
	case lost:
		sweep = false
	case was:
		r.visitAll()
	}
	if lost != was && n > 0 {
		if lost {
			r.config.Logger.Warn("redis unavailable for streams", "streams", n, "kept", r.keep, "hint", "envoy.streams_on_loss says what becomes of them")
		} else {
			r.config.Logger.Info("redis available for streams", "streams", n)
		}
	}
	r.retry(now, lost)
	if sweep {
		due := r.config.Now().Add(-judgeEvery)
		for _, s := range r.ends {
			if s.judged.Before(due) {
				r.visit(s, now)
			}
		}
	}
	r.allowed = min(r.allowed+sweepRate*int(tick/time.Millisecond)/1000, sweepRate)
	r.work()
}

// retry has those judged again about whom nobody could be asked, and ends them in the
// end. The caller holds mu.
func (r *Registry) retry(now time.Time, lost bool) {
	left := r.doubted[:0]
	for _, s := range r.doubted {
		switch {
		case s.over || s.doubted.IsZero():
			continue
		case now.Sub(s.doubted) > lossAfter && !r.keep:
			r.end(s, Reason(authz.StoreUnavailable), s.doubted)
			continue
		case !lost: // when there is time: a part of the store that is away must not hold up the others
			r.visit(s, s.doubted)
		}
		left = append(left, s)
	}
	clear(r.doubted[len(left):])
	r.doubted = left
}

// endEnds ends what has reached its end, and returns how long it is until the next.
func (r *Registry) endEnds() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.ends) > 0 {
		first := r.ends[0]
		late := r.config.Now().Sub(first.until)
		if late < 0 {
			// The clock may be set meanwhile.
			return min(-late, time.Second)
		}
		r.end(first, Reason(authz.TokenExpired), time.Now().Add(-late))
	}
	return time.Minute
}

// endsMoved tells whoever waits for the first end that it is another one. The caller
// holds mu.
func (r *Registry) endsMoved(s *Stream) {
	if s.place != 0 {
		return
	}
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// endAll ends all. The caller holds mu.
func (r *Registry) endAll(why Reason) {
	now := time.Now()
	for len(r.ends) > 0 {
		r.end(r.ends[len(r.ends)-1], why, now)
	}
}
