package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/version"
	"github.com/athd/athd/tokenstore"
)

const (
	// keysetEvery is how often the keyset is compared with what the store uses,
	// though its file has not changed: another athd may have the key by now.
	keysetEvery = 5 * time.Second
	// keysetAgain is how long a keyset that was refused is not judged again: that may
	// take a look at all that is stored.
	keysetAgain = 5 * time.Minute
	// keysetPatience bounds how long the start waits for Redis to say what the other
	// athd have.
	keysetPatience = time.Second
)

// A keysetStore is what of [tokenstore.Store] a follower needs.
type keysetStore interface {
	Keyset() *tokenstore.Keyset
	UseKeyset(context.Context, *tokenstore.Keyset) error
	CanaryKey(context.Context) (uint32, error)
	Announce(context.Context, tokenstore.Replica) error
	Withdraw(context.Context) error
	Replicas(context.Context) ([]tokenstore.Replica, error)
	ReplicaID() string
}

// A keysetFollower gives the store the keyset that its file holds, whenever that
// changes, and tells the other athd which keys this one has. What would lock the
// store out is refused, and the last good keyset stays; what another athd could not
// open is not sealed yet.
type keysetFollower struct {
	store keysetStore
	path  string // "": the keyset is not in a file
	read  func(path string) (*tokenstore.Keyset, []byte, error)
	log   *slog.Logger
	// hangup, if any, has the file read at once.
	hangup <-chan os.Signal
	// observe is told of each keyset that was taken or refused, and trail, if any, gets
	// the event of what was taken.
	observe func(outcome string)
	trail   *audit.Log

	begun   bool               // Redis has said whether another key goes on sealing: see begin
	wanted  *tokenstore.Keyset // what the file, or the environment, says
	suspect [sha256.Size]byte  // a file that is no keyset: maybe somebody writes it right now
	refused *tokenstore.Keyset // by the store, until judged again
	again   time.Time

	changed chan struct{} // the others are to be told at once

	mu    sync.Mutex
	state keysetState
}

// A keysetState is what is told of the keyset.
type keysetState struct {
	Refused string // why the file is not what is in use; "": it is
	Waits   string // why this athd does not seal with its primary key yet; "": it does
}

// Outcomes of a keyset that was read.
const (
	keysetTaken   = "taken"
	keysetRefused = "refused"
)

func newKeysetFollower(s *config.Settings, store keysetStore, log *slog.Logger, observe func(string)) *keysetFollower {
	return &keysetFollower{
		store: store, path: s.KeysetFile, log: log, observe: observe, wanted: store.Keyset(), changed: make(chan struct{}, 1),
		read: func(path string) (*tokenstore.Keyset, []byte, error) { return config.ReadKeyset(path, config.ReadFile) },
	}
}

func (f *keysetFollower) status() keysetState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// begin is for before anything is sealed: where another athd does not have the key
// that this one would seal with, the one that sealed the canary goes on sealing. A
// Redis that is away is asked again at each look: it takes no record either.
func (f *keysetFollower) begin(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, keysetPatience)
	defer cancel()
	id, err := f.store.CanaryKey(within)
	f.begun = !errors.Is(err, tokenstore.ErrUnavailable)
	if err != nil || id == f.wanted.Primary() {
		return
	}
	lacking, err := f.lacking(within, f.wanted.Primary())
	f.begun = err == nil
	if err != nil || len(lacking) == 0 {
		return
	}
	held, err := f.wanted.Promote(id)
	if err != nil {
		return // the canary's key is gone: the store judges that
	}
	if err := f.store.UseKeyset(within, held); err != nil {
		f.begun = !errors.Is(err, tokenstore.ErrUnavailable)
		return
	}
	f.settle(ctx)
}

// run follows until ctx ends, and then takes back that this athd is there.
func (f *keysetFollower) run(ctx context.Context) {
	var telling sync.WaitGroup
	defer telling.Wait()
	telling.Go(func() { f.tell(ctx) })
	files := config.Follower{Files: f.files, Read: f.follow, Hangup: f.hangup, Least: keysetEvery}
	files.Run(ctx)
}

func (f *keysetFollower) files() []string {
	if f.path == "" {
		return nil
	}
	return []string{f.path}
}

// follow is one look. asked: somebody wants it now, and has written the file. It
// wants another one soon where the file may be half written.
func (f *keysetFollower) follow(ctx context.Context, asked bool) (again bool) {
	if asked && f.path == "" {
		f.log.WarnContext(ctx, "keyset not read again", "hint", "store.keyset_file names none; what is in the environment does not change while athd runs: restart athd for another keyset")
	}
	if asked {
		f.refused = nil
	}
	if !f.begun {
		f.begin(ctx)
	}
	suspect := f.suspect
	if f.reread(ctx, asked) {
		f.settle(ctx)
		return false
	}
	return f.suspect != suspect
}

// tell tells the other athd which keys this one has until ctx ends, and then takes
// back that it is there. It waits for nobody who looks at a keyset.
func (f *keysetFollower) tell(ctx context.Context) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysetPatience)
		defer cancel()
		_ = f.store.Withdraw(ctx) // it ends by itself
	}()
	tick := time.NewTicker(tokenstore.PresenceEvery)
	defer tick.Stop()
	for {
		f.announce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.changed:
		}
	}
}

// reread reads the file, and reports whether wanted is what it holds.
func (f *keysetFollower) reread(ctx context.Context, asked bool) bool {
	if f.path == "" {
		return true
	}
	keys, data, err := f.read(f.path)
	if err == nil {
		f.wanted, f.suspect = keys, [sha256.Size]byte{}
		return true
	}
	f.refused = nil
	if digest := sha256.Sum256(append(data, err.Error()...)); digest != f.suspect && !asked {
		f.suspect = digest // it may be half written: once more
		return false
	}
	f.refuse(ctx, err.Error())
	return false
}

// settle has the store use what is wanted, as far as that harms nobody.
func (f *keysetFollower) settle(ctx context.Context) {
	present, next, waits := f.store.Keyset(), f.wanted, ""
	if sameKeys(present, next) {
		if f.status().Refused != "" {
			f.log.InfoContext(ctx, "keyset file good again", "keyset", fmt.Sprint(next))
			f.announceSoon()
		}
		f.set(keysetState{})
		return
	}
	if next.Primary() != present.Primary() {
		switch lacking, err := f.lacking(ctx, next.Primary()); {
		case err != nil:
			f.log.DebugContext(ctx, "keyset waits", "error", err)
			return // Redis is away: it is asked again
		case len(lacking) > 0:
			held, err := next.Promote(present.Primary())
			if err != nil {
				break // the key that seals is gone: the store judges that
			}
			next, waits = held, fmt.Sprintf("%s is to seal, and does not yet: %s", tokenstore.KeyName(next.Primary()), lacks(lacking))
		}
	}
	if !sameKeys(present, next) {
		if f.refused != nil && sameKeys(f.refused, next) && time.Now().Before(f.again) {
			return
		}
		err := f.store.UseKeyset(ctx, next)
		if lockout, ok := errors.AsType[*tokenstore.LockoutError](err); ok {
			f.refused, f.again = next, time.Now().Add(keysetAgain)
			f.refuse(ctx, lockout.Why)
			return
		}
		if err != nil {
			f.log.DebugContext(ctx, "keyset waits", "error", err)
			return
		}
		f.refused = nil
		f.observe(keysetTaken)
		if f.trail != nil {
			f.trail.Record(ctx, audit.Event{Kind: audit.KeysetChanged, Keys: keyList(next), DecisionID: ath.NewDecisionID()})
		}
		f.log.InfoContext(ctx, "keyset taken", "keyset", fmt.Sprint(next))
		f.announceSoon()
	}
	if waits != "" && waits != f.status().Waits {
		f.log.WarnContext(ctx, "keyset waits", "reason", waits, "hint", "athd keys status says which athd has which keys")
	}
	f.set(keysetState{Waits: waits})
}

func (f *keysetFollower) refuse(ctx context.Context, why string) {
	state := f.status()
	if state.Refused != why {
		f.observe(keysetRefused)
		f.announceSoon()
		f.log.ErrorContext(ctx, "keyset refused", "file", f.path, "reason", why, "hint", "the last good one stays in use; write the file again, and it is read by itself")
	}
	state.Refused = why
	f.set(state)
}

func (f *keysetFollower) set(state keysetState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
}

// announceSoon has the others told at once.
func (f *keysetFollower) announceSoon() {
	select {
	case f.changed <- struct{}{}:
	default: // they are about to be told
	}
}

func (f *keysetFollower) announce(ctx context.Context) {
	name, _ := os.Hostname() // "" tells less
	r := tokenstore.Replica{Name: name, Version: version.Current().Version, Refused: f.status().Refused}
	if err := f.store.Announce(ctx, r); err != nil {
		f.log.DebugContext(ctx, "presence not told", "error", err)
	}
}

// lacking are the other athd that do not have a key.
func (f *keysetFollower) lacking(ctx context.Context, id uint32) ([]tokenstore.Replica, error) {
	all, err := f.store.Replicas(ctx)
	var out []tokenstore.Replica
	for _, r := range all {
		if r.ID != f.store.ReplicaID() && !r.Has(id) {
			out = append(out, r)
		}
	}
	return out, err
}

// lacks says who lacks a key.
func lacks(some []tokenstore.Replica) string {
	names := make([]string, len(some))
	for i, r := range some {
		names[i] = replicaName(r)
	}
	verb := "lacks"
	if len(names) > 1 {
		verb = "lack"
	}
	return strings.Join(names, ", ") + " " + verb + " it"
}

// replicaName is how an athd is called: its host is its own word.
func replicaName(r tokenstore.Replica) string {
	id := r.ID[:min(len(r.ID), 6)]
	if r.Name == "" {
		return visible(id)
	}
	return visible(r.Name + "/" + id)
}

// visible keeps what came from Redis from moving a terminal's cursor.
func visible(text string) string {
	return strings.Map(func(c rune) rune {
		if !ath.IsVisible(string(c)) {
			return '?'
		}
		return c
	}, text[:min(len(text), 100)])
}

// keyList has the ids of the keys that open, the one that seals first.
func keyList(k *tokenstore.Keyset) string {
	ids := []string{strconv.FormatUint(uint64(k.Primary()), 10)}
	for _, key := range k.Keys() {
		if key.Enabled && !key.Primary {
			ids = append(ids, strconv.FormatUint(uint64(key.ID), 10))
		}
	}
	return strings.Join(ids, " ")
}

func sameKeys(a, b *tokenstore.Keyset) bool {
	if a == b {
		return true
	}
	one, err := a.Marshal()
	other, failed := b.Marshal()
	return err == nil && failed == nil && bytes.Equal(one, other)
}

// keysetCheck is what /readyz says of the keyset. A file that is refused makes nobody
// unready: the keyset in use is good.
func keysetCheck(s keysetState) (check api.ReadinessCheck, warnings []string) {
	if s.Refused != "" {
		warnings = append(warnings, "the file of the keyset is not what is in use: "+s.Refused)
	}
	if s.Waits != "" {
		warnings = append(warnings, "the keyset: "+s.Waits)
	}
	return api.ReadinessCheck{OK: s.Refused == "", Error: s.Refused}, warnings
}
