package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/config"
)

// Outcomes of a configuration that was read while athd runs.
const (
	configTaken   = "taken"
	configRefused = "refused"
)

// A reloader takes the configuration that the files hold, whenever that changes, as
// a whole or not at all.
type reloader struct {
	take func() config.Snapshot
	log  *slog.Logger
	// apply has all parts of athd go on with other settings. An error changes nothing.
	apply   func(ctx context.Context, next *config.Settings) error
	trail   *audit.Log
	observe func(outcome string)
	now     func() time.Time
	hangup  <-chan os.Signal // nil: nobody asks

	routes  config.Routes // the providers that Envoy has routes to
	files   []string      // of what is taken
	others  []string      // of what was read last
	suspect string        // what was read once: maybe somebody writes it right now

	mu      sync.Mutex
	running *config.Settings
	state   configState
}

// A configState is what is told of the configuration.
type configState struct {
	Digest  string    // of the files that are taken
	Refused string    // why the files are not; "": they are
	Since   time.Time // of Refused
	// Waiting are the changes of the files that wait for a restart.
	Waiting []config.Waiting
	// Warnings are of the files that are taken.
	Warnings []string
}

// newReloader returns a reloader of an athd that was started with a snapshot.
func newReloader(started config.Snapshot, take func() config.Snapshot) *reloader {
	s := started.Settings
	routes := config.Routes{}
	routes.Add(s.Providers)
	return &reloader{
		take: take, routes: routes, running: s, files: started.Files, now: time.Now,
		state: configState{Digest: started.Digest, Warnings: s.Warnings},
	}
}

// run follows the files until ctx ends.
func (r *reloader) run(ctx context.Context) {
	f := config.Follower{Files: r.watched, Read: r.follow, Hangup: r.hangup}
	f.Run(ctx)
}

// watched are the files of what is taken, and of what was read since: a file that a
// refused set misses may come.
func (r *reloader) watched() []string {
	all := slices.Concat(r.files, r.others)
	slices.Sort(all)
	return slices.Compact(all)
}

// current are the settings that athd runs with.
func (r *reloader) current() *config.Settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

func (r *reloader) status() configState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// follow is one look at what the files hold. asked: an operator wants it now.
func (r *reloader) follow(ctx context.Context, asked bool) (again bool) {
	read := r.take()
	r.others = read.Files
	state := r.status()
	if read.Settings != nil && read.Digest == state.Digest && !asked {
		if state.Refused != "" {
			r.log.InfoContext(ctx, "configuration good again", "digest", read.Digest)
			r.accept(r.current(), read, state.Waiting)
		}
		r.suspect = ""
		return false
	}
	// Somebody may be writing it, also where it has no fault: half of a list of
	// rules is a list of rules.
	if seen := read.Digest + " " + faultsOf(read); seen != r.suspect && !asked || read.Changing && !asked {
		r.suspect = seen
		return true
	}
	if read.Settings == nil {
		r.refuse(ctx, faultsOf(read), asked)
		return read.Changing
	}
	running := r.current()
	next, change := config.Next(r.routes, running, read.Settings)
	switch {
	case change.Refused != "":
		r.refuse(ctx, change.Refused, asked)
		return false
	case len(change.Shorter) > 0 && !asked:
		r.refuse(ctx, strings.Join(change.Shorter, "; ")+": what a slip could take away is taken at SIGHUP only", asked)
		return false
	}
	if len(change.Taken) > 0 {
		if err := r.apply(ctx, next); err != nil {
			r.refuse(ctx, err.Error(), asked)
			return false
		}
	}
	r.routes.Add(next.Providers)
	r.files = read.Files
	r.tell(ctx, read, next, change)
	r.accept(next, read, change.Waiting)
	return false
}

func faultsOf(read config.Snapshot) string {
	if read.Settings != nil {
		return ""
	}
	return read.Faults.Error()
}

// accept takes note of what was taken.
func (r *reloader) accept(next *config.Settings, read config.Snapshot, waiting []config.Waiting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = next
	r.state = configState{Digest: read.Digest, Warnings: read.Settings.Warnings, Waiting: waiting}
}

// tell says what was taken, and what waits.
func (r *reloader) tell(ctx context.Context, read config.Snapshot, next *config.Settings, c config.Change) {
	state := r.status()
	if len(c.Taken) == 0 {
		r.log.InfoContext(ctx, "configuration read again", "digest", read.Digest, "before", state.Digest, "hint", "nothing that can be taken while athd runs has changed")
	} else {
		r.observe(configTaken)
		r.log.InfoContext(ctx, "configuration taken", "digest", read.Digest, "before", state.Digest, "changed", strings.Join(c.Taken, ", "))
		r.trail.Record(ctx, audit.Event{Kind: audit.ConfigChanged, DecisionID: ath.NewDecisionID(), Before: asJSON(c.Before), After: asJSON(c.After)})
	}
	if len(c.Envoy) > 0 {
		r.log.WarnContext(ctx, "envoy's configuration is another one now", "changed", strings.Join(c.Envoy, ", "), "hint", "athd bootstrap prints it; athd does not need a restart")
	}
	for _, w := range c.Waiting {
		if !slices.Contains(state.Waiting, w) {
			r.log.WarnContext(ctx, "configuration waits for a restart", "changed", w.Name, "reason", w.Why)
		}
	}
	for _, text := range next.Warnings {
		if !slices.Contains(state.Warnings, text) {
			r.log.WarnContext(ctx, text)
		}
	}
}

// refuse keeps what is in use.
func (r *reloader) refuse(ctx context.Context, why string, asked bool) {
	state := r.status()
	if state.Refused == why && !asked {
		return
	}
	r.observe(configRefused)
	r.log.ErrorContext(ctx, "configuration refused", "reason", why, "digest", state.Digest,
		"hint", "the last good one goes on; write the files again, and they are read by themselves")
	r.trail.Record(ctx, audit.Event{Kind: audit.ConfigRefused, DecisionID: ath.NewDecisionID(), Reason: bounded(why)})
	if state.Refused == "" {
		state.Since = r.now()
	}
	state.Refused = why
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

// maxReason bounds what an event says of faults, in bytes.
const maxReason = 2000

func bounded(text string) string {
	if len(text) > maxReason {
		return strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

func asJSON(m map[string]string) string {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	if len(out) == 0 {
		return ""
	}
	text, err := json.Marshal(out)
	if err != nil {
		return ""
	}
	return string(text)
}

// configCheck is what /readyz says of the configuration. Files that are refused make
// nobody unready: the configuration in use is good.
func configCheck(s configState) (check api.ReadinessCheck, warnings []string) {
	if s.Refused != "" {
		warnings = append(warnings, "the files of the configuration are not what is in use, since "+s.Since.UTC().Format(time.RFC3339)+": "+s.Refused)
	}
	for _, w := range s.Waiting {
		warnings = append(warnings, "the configuration has changed, and waits for a restart: "+w.String())
	}
	return api.ReadinessCheck{OK: s.Refused == "", Error: s.Refused, Digest: s.Digest}, warnings
}
