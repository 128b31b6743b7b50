package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	// drainTurn is for how long one athd has the turn to end a provider's connections,
	// and endFor for how long it ends some from the first one on; then it counts what is
	// left, so that others have theirs ended too.
	drainTurn = time.Minute
	endFor    = 20 * time.Second
	// drainFirst is how soon the next look is, which doubles up to drainMost: what waits
	// for an OAuth server that does not answer waits for a day at most.
	drainFirst = time.Second
	drainMost  = time.Minute
	// endRate is how many connections end in a second at most, and readRate how many
	// are read; of other keys, which are only looked at, so many are one that is read.
	endRate       = 200
	readRate      = 20_000
	lookedPerRead = 4
	// restFor is how many times as long as a walk took there is none after it, up to
	// drainFirst: providers that are removed one after the other share one.
	restFor = 4
)

// Draining says how many connections of a provider that was removed are yet to be
// ended, and revoked; ok is false of any other.
func (k *Catalog) Draining(id string) (left int, ok bool) {
	e, known := k.Get(id)
	return e.Left, known && e.State == tokenstore.ProviderDraining
}

func (k *Catalog) wakeDrain() {
	select {
	case k.work <- struct{}{}:
	default:
	}
}

// A look is at the connections of a provider.
type look struct {
	of    time.Time // when the provider was changed
	turn  time.Time // this athd goes on until then
	next  time.Time // look, not before
	pause time.Duration
}

// drain ends connections of providers that were removed, and of configurations of
// before, until ctx ends. Any number of athd do: one at a time for each provider, and
// where one dies in between, another goes on.
func (k *Catalog) drain(ctx context.Context) {
	looks := map[string]*look{}
	rested := time.Time{} // from the last walk
	for {
		next := time.Time{}
		ending := k.ending()
		maps.DeleteFunc(looks, func(id string, _ *look) bool {
			_, ends := slices.BinarySearch(ending, id)
			return !ends
		})
		began := time.Now()
		due := map[string]*look{}
		for _, id := range ending {
			l := looks[id]
			if l == nil {
				l = &look{next: began} // also where there is a rest yet: nobody wakes this athd after it
				looks[id] = l
			}
			if !began.Before(rested) && !began.Before(l.next) {
				due[id] = l
			}
		}
		if len(due) > 0 && k.drainSome(ctx, due) {
			rested = time.Now().Add(min(restFor*time.Since(began), drainFirst))
		}
		for _, id := range ending {
			if at := looks[id].next; next.IsZero() || at.Before(next) {
				next = at
			}
		}
		var wait <-chan time.Time // never, until something is read or written
		if !next.IsZero() {
			if next.Before(rested) {
				next = rested
			}
			wait = time.After(max(time.Until(next), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-k.work:
		case <-wait:
		}
	}
}

// ending are the ids of those of which connections are to end. It is asked at every
// change, and looks at no other of the thousands that there may be.
func (k *Catalog) ending() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.ends))
}

// A draining is a provider of which this athd ends connections now.
type draining struct {
	look  *look
	held  tokenstore.Held[tokenstore.RuntimeProvider]
	names []string
	until time.Time // it ends no more of them; zero: it has ended none yet
	ended int
	left  int
}

// drainSome ends what is to end of some providers, as far as it is this athd's turn:
// there may be a thousand of them at once, and it takes one walk over all that the
// store has. It reports whether it walked.
func (k *Catalog) drainSome(ctx context.Context, due map[string]*look) (walked bool) {
	failed := func(id string, err error) bool {
		if err != nil && ctx.Err() == nil {
			k.Logger.DebugContext(ctx, "connections of a provider not ended yet", "provider_id", id, "error", err)
		}
		return err != nil
	}
	var all []*draining
	for _, id := range slices.Sorted(maps.Keys(due)) {
		if d, err := k.begin(ctx, id, due[id]); !failed(id, err) && d != nil {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return false
	}
	err := k.end(ctx, all)
	var waits map[string]int
	if err == nil {
		waits, err = k.Store.ProviderRevocations(ctx)
	}
	for _, d := range all {
		if id := d.held.Value.ID; !failed(id, err) {
			failed(id, k.settle(ctx, d, waits))
		}
	}
	return true
}

// begin reads of which of a provider's connections are to end; nil: of none, or it is
// not this athd's turn.
func (k *Catalog) begin(ctx context.Context, id string, l *look) (*draining, error) {
	l.pause = min(max(2*l.pause, drainFirst), drainMost)
	l.next = time.Now().Add(l.pause)
	held, err := k.Store.RuntimeProvider(ctx, id)
	if err != nil {
		return nil, err
	}
	v := &held.Value
	removed := v.State == tokenstore.ProviderDraining
	switch {
	case v.ID == "":
		return nil, k.read(ctx, tokenstore.ProviderTag(id))
	case !removed && len(v.Former) == 0:
		return nil, nil
	case removed && v.Config.IsZero() && k.File(id) != nil:
		return nil, k.forget(ctx, held) // a file has it again, and with it its connections
	case !l.of.Equal(v.Changed):
		*l = look{of: v.Changed, pause: drainFirst, next: time.Now().Add(drainFirst)}
	}
	k.recall(ctx, id)
	if mine, err := k.takeTurn(ctx, id, l); err != nil || !mine {
		return nil, err
	}
	return &draining{look: l, held: held, names: k.names(id)}, nil
}

// settle writes down what has become of a provider's connections. waits is how many of
// each are yet to be revoked.
func (k *Catalog) settle(ctx context.Context, d *draining, waits map[string]int) error {
	v, l := &d.held.Value, d.look
	removed := v.State == tokenstore.ProviderDraining
	next := *v
	next.Left = d.left
	// Of whom nobody knows where: who adds the provider again has them revoked there.
	if !removed || !v.Config.IsZero() || k.Find(v.ID, "", "") != nil {
		for _, name := range d.names {
			next.Left += waits[name]
		}
	}
	switch {
	case d.ended > 0: // go on, and look whether one has come since
		l.next, l.pause = time.Now(), 0
	case d.ended == 0 && next.Left == 0 && removed:
		return k.forget(ctx, d.held)
	case d.ended == 0 && next.Left == 0:
		next.Former = nil
		return k.rewrite(ctx, d.held, next)
	}
	if next.Left == v.Left {
		return nil
	}
	return k.rewrite(ctx, d.held, next)
}

// takeTurn reports whether it is this athd that ends a provider's connections now.
func (k *Catalog) takeTurn(ctx context.Context, id string, l *look) (bool, error) {
	if time.Now().Before(l.turn) {
		return true, nil
	}
	began := time.Now()
	mine, err := k.Store.Once(tokenstore.Revoking(ctx), tokenstore.ProviderTag(id), "provider-drain", strconv.FormatInt(l.of.UnixMicro(), 10), drainTurn)
	if mine {
		l.turn = began.Add(drainTurn)
	}
	return mine, err
}

// names are those by which records know a provider. What has another one's name by
// now is that one's.
func (k *Catalog) names(id string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := []string{id}
	if v, known := k.vanished[id]; known {
		for _, alias := range v.provider.Aliases {
			if _, runtime := k.ids[alias]; !runtime && k.files.Get(alias) == nil {
				names = append(names, alias)
			}
		}
	}
	return names
}

// isToEnd reports whether a connection is to end with a provider that was removed, or
// with a configuration of before. It asks what is known now: a walk may take minutes,
// and another athd may be through meanwhile.
func (k *Catalog) isToEnd(v *tokenstore.RuntimeProvider, c *tokenstore.ProviderConnection) bool {
	if v.State == tokenstore.ProviderDraining {
		// A file may have the name by now. What was made since is the file's.
		if k.File(v.ID) != nil {
			return !c.Corrupt && c.Created.Before(v.Changed)
		}
		e, there := k.Get(v.ID)
		return there && (e.State == tokenstore.ProviderDraining || e.Generation < v.Generation)
	}
	now := k.Providers.Current().Get(v.ID)
	return !c.Corrupt && now != nil && now.Ready() && !now.Agreed(c.Destination, c.Bound)
}

// end ends connections, of each provider for some time, and counts how many it has
// ended, and how many are left.
func (k *Catalog) end(ctx context.Context, all []*draining) error {
	named := map[string][]*draining{}
	for _, d := range all {
		for _, name := range d.names {
			named[name] = append(named[name], d)
		}
	}
	reads, writes := &pace{}, &pace{}
	return k.Store.ProviderConnections(ctx, func(name string) bool { return named[name] != nil },
		func(ctx context.Context, looked, read int) error {
			return reads.wait(ctx, read+looked/lookedPerRead, readRate)
		},
		func(ctx context.Context, c tokenstore.ProviderConnection) error {
			for _, d := range named[c.Provider] {
				now := time.Now()
				switch {
				case !k.isToEnd(&d.held.Value, &c):
					continue
				case !d.until.IsZero() && now.After(d.until):
					d.left++
					continue
				case d.until.IsZero():
					d.until = now.Add(endFor)
				}
				if _, err := k.Store.EndConnection(ctx, c.Tag, k.Now()); err != nil {
					return err
				}
				d.ended++
				return writes.wait(ctx, 1, endRate)
			}
			return nil
		})
}

// forget removes the record of a provider all of whose connections have ended.
func (k *Catalog) forget(ctx context.Context, held tokenstore.Held[tokenstore.RuntimeProvider]) error {
	err := k.Store.RemoveRuntimeProvider(ctx, held)
	if errors.Is(err, tokenstore.ErrChanged) {
		return nil // it is looked at again
	}
	if err != nil {
		return err
	}
	id := held.Value.ID
	k.Audit.Record(ctx, audit.Event{Kind: audit.ProviderDrained, ProviderID: id, DecisionID: ath.NewDecisionID(), By: held.Value.ChangedBy})
	k.Logger.InfoContext(ctx, "provider removed: its connections have ended", "provider_id", id)
	return k.read(ctx, tokenstore.ProviderTag(id))
}

func (k *Catalog) rewrite(ctx context.Context, held tokenstore.Held[tokenstore.RuntimeProvider], next tokenstore.RuntimeProvider) error {
	_, err := k.write(ctx, held, next)
	if errors.Is(err, ErrChanged) {
		return nil // it is looked at again
	}
	return err
}

// A pace lets no more be done in a second than a rate.
type pace struct{ until time.Time }

func (p *pace) wait(ctx context.Context, done, rate int) error {
	now := time.Now()
	if p.until.Before(now) {
		p.until = now
	}
	p.until = p.until.Add(time.Duration(done) * time.Second / time.Duration(rate))
	wait := p.until.Sub(now)
	if wait < 5*time.Millisecond {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("catalog: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}

// Find returns the provider at which a connection's tokens are to be revoked that is
// bound to this (O-2): the one that serves, one that was removed, what it was before
// it was changed, or one that has vanished from a file. nil: nobody knows it.
func (k *Catalog) Find(name, destination, bound string) *provider.Provider {
	now := k.Providers.Current().Lookup(name)
	if now != nil && (destination == "" || now.AgreedToRevoke(destination, bound)) {
		return now
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[k.ids[name]]; e != nil {
		for _, f := range slices.Backward(e.former) {
			if f.provider != nil && f.provider.AgreedToRevoke(destination, bound) {
				return f.provider
			}
		}
		if e.State == tokenstore.ProviderDraining && e.Provider != nil {
			return e.Provider
		}
	}
	if v, known := k.vanished[name]; known && (now == nil || v.provider.AgreedToRevoke(destination, bound)) {
		return v.provider
	}
	return now
}

// recall gives providers that serve nobody any more the endpoints that their issuers
// have said: they are to be revoked there.
func (k *Catalog) recall(ctx context.Context, id string) {
	k.mu.Lock()
	e := k.entries[k.ids[id]]
	var all []*provider.Provider
	if e != nil {
		if all = append(all, e.Provider); e.State != tokenstore.ProviderDraining {
			all[0] = nil
		}
		for _, f := range e.former {
			all = append(all, f.provider)
		}
	}
	k.mu.Unlock()
	for i, p := range all {
		if p == nil || !p.Discovered || p.Ready() {
			continue
		}
		q, err := k.Issuers.Recall(ctx, p)
		if err != nil {
			k.Logger.DebugContext(ctx, "endpoints of a provider that was removed are not known", "provider_id", id, "error", err)
			continue
		}
		k.mu.Lock()
		if i == 0 && e.Provider == p {
			e.Provider = q
		} else if i > 0 {
			e.former[i-1].provider = q
		}
		k.mu.Unlock()
	}
}
