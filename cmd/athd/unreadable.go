package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
)

// Of records that do not open, each has one event within so long, and at most so
// many have one; the metric counts every time that one was read.
const (
	unreadableEvery = time.Minute
	maxUnreadable   = 1 << 10
)

// unreadables reports records of the store that do not open: each was moved or
// copied from elsewhere, or changed, or another keyset or version sealed it.
type unreadables struct {
	trail atomic.Pointer[audit.Log] // nil until there is one
	now   func() time.Time

	mu    sync.Mutex
	since time.Time
	told  map[string]bool
}

// tell is for [tokenstore.Config].Unreadable.
func (u *unreadables) tell(key string) {
	trail := u.trail.Load()
	if trail == nil || !u.isNew(key) {
		return
	}
	trail.Record(context.Background(), audit.Event{Kind: audit.RecordUnreadable, Record: key, Reason: "record_corrupt", DecisionID: ath.NewDecisionID()})
}

func (u *unreadables) isNew(key string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := u.now(); now.Sub(u.since) >= unreadableEvery || now.Before(u.since) {
		u.since, u.told = now, map[string]bool{}
	}
	if u.told[key] || len(u.told) >= maxUnreadable {
		return false
	}
	u.told[key] = true
	return true
}
