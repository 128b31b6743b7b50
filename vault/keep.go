package vault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	keepPage = 100
	// lookAgain is when a connection is looked at again whose refresh token ends
	// and need not be used, since no agent has a token for it now.
	lookAgain = 10 * time.Minute
	// inNoHurry is how many refresh tokens of one provider are used by one look that
	// could wait: after a night without athd all are due at once.
	inNoHurry = 300
)

// KeepAlive uses refresh tokens before they end unused, of connections for which
// an agent has a live token or renewal (T-8) and which nobody happens to call, until
// ctx ends. Which are due is in the store, so that a restart forgets none, and
// whichever athd looks first does it: by the same one call. Those that no agent can
// use are left alone. Refresh tokens that live for less than some minutes may end
// nevertheless.
func (v *Vault) KeepAlive(ctx context.Context, providers *provider.Providers) {
	timer := time.NewTimer(rand.N(v.Every)) // replicas that start together do not look together
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		for _, in := range tokenstore.KeepIndexes() {
			if err := v.keepDue(ctx, in, providers.Current()); err != nil && ctx.Err() == nil {
				v.Logger.DebugContext(ctx, "refresh tokens that end soon not read", "error", err)
			}
		}
		timer.Reset(jitter(v.Every))
	}
}

// A look is one over an index.
type look struct {
	*Vault
	in        tokenstore.KeepIndex
	providers *provider.Set
	waited    map[*provider.Provider]int // those that could have waited, and need not
}

// keepDue arms a timer for each connection that is due before the next look.
func (v *Vault) keepDue(ctx context.Context, in tokenstore.KeepIndex, providers *provider.Set) (err error) {
	defer func() {
		if p := recover(); p != nil { // one record must not end athd
			v.Logger.ErrorContext(ctx, "refresh panicked", "panic", typeName(p))
			err = nil
		}
	}()
	l := &look{v, in, providers, map[*provider.Provider]int{}}
	by := v.Now().Add(v.Every)
	offset := 0 // behind those that stay
	for range maxScheduled / keepPage {
		tags, err := v.Store.KeepDue(ctx, in, by, offset, keepPage)
		if err != nil || len(tags) == 0 {
			return err
		}
		var unknown []ath.Tag
		for _, tag := range tags {
			if !v.schedule.has(tag) {
				unknown = append(unknown, tag)
			}
		}
		moved, err := l.keepSome(ctx, unknown)
		if err != nil || len(tags) < keepPage {
			return err
		}
		offset += len(tags) - moved
	}
	return nil
}

// keepSome says how many of them are no longer among those that are due.
func (l *look) keepSome(ctx context.Context, tags []ath.Tag) (moved int, err error) {
	if len(tags) == 0 {
		return 0, nil
	}
	found, err := l.Store.ConnectionsOf(ctx, tags)
	if err != nil {
		return 0, err
	}
	later := map[ath.Tag]time.Time{}
	for _, tag := range tags {
		var next time.Time // zero: never
		due := false
		if info, there := found[tag]; there {
			next, due = l.judge(&info)
		}
		if !due {
			later[tag] = next
		}
	}
	return len(later), l.Store.KeepLater(ctx, l.in, later)
}

// judge arms a timer for a connection that is due, or says when to look again; the
// zero time: no more.
func (l *look) judge(info *tokenstore.ConnectionInfo) (next time.Time, due bool) {
	now := l.Now()
	p := l.providers.Lookup(info.Provider)
	k := keepingOf(p, info, now)
	switch {
	case l.in == tokenstore.KeepStanding && !k.standing: // it ends soon, or its renewal is on its way into the store
		return now.Add(max(lookAgain, l.Every)), false
	case k.by.IsZero() || info.RefreshStatus.Over(now):
		if l.in == tokenstore.KeepStanding { // for as long as it is there: its tokens may be replaced (P-10)
			return now.Add(24 * time.Hour), false
		}
		return time.Time{}, false
	case k.by.After(now.Add(l.Every)): // not yet: it was looked whether it has ended
		return k.by, false
	case p == nil || p.Refresh.Off || !p.Ready() || !p.Agreed(info.Destination, info.Bound) || !info.Waits(k.standing):
		return now.Add(max(min(lookAgain, k.end.Sub(now)/4), l.Every)), false
	case k.end.Sub(now) > 4*lookAgain && (l.waited[p] >= inNoHurry || l.gates.of(p.ID).left(time.Now()) > 0):
		return now.Add(max(jitter(lookAgain), l.Every)), false
	}
	l.waited[p]++
	l.keep(p, info, k)
	return time.Time{}, true
}

// keep arms a timer, at a time that differs from connection to connection and from
// replica to replica.
func (v *Vault) keep(p *provider.Provider, info *tokenstore.ConnectionInfo, k keeping) {
	now := v.Now()
	spread := rand.N(max(1, min(v.Every, k.end.Sub(now)/4)))
	after := max(0, k.by.Sub(now)) + spread
	// What takes longer than that is found by the next look.
	until := min(k.end.Sub(now), after+lookAgain)
	w := work{ref: info.Ref(), provider: p, cause: idle, by: k.by, unused: info.UnusedSince()}
	v.schedule.set(info.Tag, after, false, func() { v.refreshDue(w, now.Add(until), time.Second) })
}
