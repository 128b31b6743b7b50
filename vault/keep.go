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
)

// KeepAlive uses refresh tokens before they end unused, of connections for which
// an agent has a live token and which nobody happens to call, until ctx ends. Which
// are due is in the store, so that a restart forgets none, and whichever athd looks
// first does it: by the same one call. Those without a live token are left alone.
// Refresh tokens that live for less than some minutes may end nevertheless.
func (v *Vault) KeepAlive(ctx context.Context, providers *provider.Providers) {
	timer := time.NewTimer(rand.N(v.Every)) // replicas that start together do not look together
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := v.keepDue(ctx, providers.Current()); err != nil && ctx.Err() == nil {
			v.Logger.DebugContext(ctx, "refresh tokens that end soon not read", "error", err)
		}
		timer.Reset(jitter(v.Every))
	}
}

// keepDue arms a timer for each connection that is due before the next look.
func (v *Vault) keepDue(ctx context.Context, providers *provider.Set) (err error) {
	defer func() {
		if p := recover(); p != nil { // one record must not end athd
			v.Logger.ErrorContext(ctx, "refresh panicked", "panic", typeName(p))
			err = nil
		}
	}()
	by := v.Now().Add(v.Every)
	offset := 0 // behind those that stay
	for range maxScheduled / keepPage {
		tags, err := v.Store.KeepDue(ctx, by, offset, keepPage)
		if err != nil || len(tags) == 0 {
			return err
		}
		var unknown []ath.Tag
		for _, tag := range tags {
			if !v.schedule.has(tag) {
				unknown = append(unknown, tag)
			}
		}
		moved, err := v.keepSome(ctx, providers, unknown)
		if err != nil || len(tags) < keepPage {
			return err
		}
		offset += len(tags) - moved
	}
	return nil
}

// keepSome says how many of them are no longer among those that are due.
func (v *Vault) keepSome(ctx context.Context, providers *provider.Set, tags []ath.Tag) (moved int, err error) {
	if len(tags) == 0 {
		return 0, nil
	}
	found, err := v.Store.ConnectionsOf(ctx, tags)
	if err != nil {
		return 0, err
	}
	later := map[ath.Tag]time.Time{}
	for _, tag := range tags {
		info, there := found[tag]
		if !there {
			later[tag] = time.Time{}
			continue
		}
		by, p := info.KeepBy(), providers.Lookup(info.Provider)
		switch {
		case by.IsZero() || info.Renewal.Over(v.Now()):
			later[tag] = time.Time{}
		case by.After(v.Now().Add(v.Every)): // not yet: it was looked whether it has ended
			later[tag] = by
		case p == nil || p.Refresh.Off || !p.Ready() || info.Destination != p.Destination() || !info.Waits():
			again := min(lookAgain, info.Renewal.RefreshExpires.Sub(v.Now())/4)
			later[tag] = v.Now().Add(max(again, v.Every))
		default:
			v.keep(p, &info, by)
		}
	}
	return len(later), v.Store.KeepLater(ctx, later)
}

// keep arms a timer, at a time that differs from connection to connection and from
// replica to replica.
func (v *Vault) keep(p *provider.Provider, info *tokenstore.ConnectionInfo, by time.Time) {
	end := info.Renewal.RefreshExpires
	left := end.Sub(v.Now())
	spread := rand.N(max(1, min(v.Every, left/4)))
	w := work{info.Ref(), p, idle}
	v.schedule.set(info.Tag, max(0, by.Sub(v.Now()))+spread, false, func() { v.refreshDue(w, end, time.Second) })
}
