package catalog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A Record is a run-time provider as the store has it, for [Catalog.Change].
type Record struct {
	held tokenstore.Held[tokenstore.RuntimeProvider]
}

// ID is the provider's.
func (r *Record) ID() string { return r.held.Value.ID }

// Config is the provider's fields as JSON, with its secret.
func (r *Record) Config() ath.Secret { return r.held.Value.Config }

// Generation is that of the record's last write.
func (r *Record) Generation() uint64 { return r.held.Value.Generation }

// Read returns a run-time provider as the store has it now.
func (k *Catalog) Read(ctx context.Context, id string) (*Record, error) {
	held, err := k.Store.RuntimeProvider(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case held.Value.ID == "":
		return nil, ErrNotFound
	case held.Value.State == tokenstore.ProviderDraining:
		return nil, ErrDraining
	}
	return &Record{held}, nil
}

// Add adds a provider. config is its fields as JSON, with its secret; by is the
// operator's name. What Parse says against it is returned as it is.
func (k *Catalog) Add(ctx context.Context, id string, config ath.Secret, by string) (Entry, error) {
	if _, err := k.parseOne(id, config); err != nil {
		return Entry{}, err
	}
	if k.File(id) != nil {
		return Entry{}, ErrFile
	}
	held, err := k.Store.RuntimeProvider(ctx, id)
	switch {
	case err != nil:
		return Entry{}, err
	case held.Value.State == tokenstore.ProviderDraining:
		return Entry{}, ErrDraining
	case held.Value.ID != "":
		return Entry{}, ErrExists
	}
	now := k.Now()
	e, err := k.write(ctx, held, tokenstore.RuntimeProvider{ID: id, Config: config, Created: now, CreatedBy: by, Changed: now, ChangedBy: by})
	if errors.Is(err, ErrChanged) {
		return Entry{}, ErrExists
	}
	return e, err
}

// Change replaces a provider's fields as it was read. Where its connections' tokens
// would go elsewhere, or come from elsewhere (O-2), those of before are ended, and
// revoked where they came from, in the background.
func (k *Catalog) Change(ctx context.Context, r *Record, config ath.Secret, by string) (Entry, error) {
	next := r.held.Value
	p, err := k.parseOne(next.ID, config)
	if err != nil {
		return Entry{}, err
	}
	if k.File(next.ID) != nil {
		return Entry{}, ErrFile
	}
	if was, err := k.parseOne(next.ID, next.Config); err != nil || !sameDestination(was, p) {
		if len(next.Former) >= tokenstore.MaxFormer {
			return Entry{}, ErrEnding
		}
		next.Former = append(slices.Clip(next.Former), tokenstore.FormerConfig{Config: next.Config, Until: k.Now()})
	}
	next.Config, next.Changed, next.ChangedBy = config, k.Now(), by
	return k.write(ctx, r.held, next)
}

// sameDestination reports whether connections that were made under one configuration
// are used under the other (O-2).
func sameDestination(a, b *provider.Provider) bool {
	fields := provider.Moved(a, b)
	binds := func(field string) bool {
		return field != "authorize_endpoint" && (field != "api_base_url" || a.APIBase.Scheme != b.APIBase.Scheme || a.APIBase.Host != b.APIBase.Host)
	}
	return !slices.ContainsFunc(fields, binds)
}

// Remove ends a provider: it serves nobody from now on, and its connections are ended
// in the background; see [Catalog.Draining]. So it does with what a provider left that
// has vanished from a file, and with one whose record does not open, of which nobody
// knows any more where its tokens are revoked. ErrNotFound: there is neither it nor a
// connection of it. A record that is written meanwhile is removed as well.
func (k *Catalog) Remove(ctx context.Context, id, by string) (e Entry, err error) {
	for range removeTries {
		e, err = k.remove(ctx, id, by)
		if !errors.Is(err, ErrChanged) {
			break
		}
	}
	return e, err
}

// removeTries is how often a removal is tried that others' writes are in front of:
// those of an operator, or of an athd that ends connections of before.
const removeTries = 10

func (k *Catalog) remove(ctx context.Context, id, by string) (Entry, error) {
	if k.File(id) != nil {
		return Entry{}, ErrFile
	}
	held, err := k.Store.RuntimeProvider(ctx, id)
	unreadable := errors.Is(err, tokenstore.ErrCorrupt)
	if err != nil && !unreadable {
		return Entry{}, err
	}
	next := held.Value
	switch {
	case unreadable:
		next = tokenstore.RuntimeProvider{ID: id, Created: k.Now(), CreatedBy: by}
	case next.State == tokenstore.ProviderDraining:
		e, _ := k.Get(id)
		return e, nil
	case next.ID == "":
		if there, err := k.hasConnections(ctx, id); err != nil || !there {
			return Entry{}, cmp.Or(err, ErrNotFound)
		}
		next = tokenstore.RuntimeProvider{ID: id, Created: k.Now(), CreatedBy: by}
	}
	next.State, next.Changed, next.ChangedBy = tokenstore.ProviderDraining, k.Now(), by
	return k.write(ctx, held, next)
}

// lookFor is how long it is looked for a connection of a provider that is not known.
const lookFor = 2 * time.Second

// hasConnections reports whether there may be a connection of a provider that is in
// no file and not in the store.
func (k *Catalog) hasConnections(ctx context.Context, id string) (bool, error) {
	if !provider.ValidAppID(id) {
		return false, nil
	}
	looking, stop := context.WithTimeout(ctx, lookFor)
	defer stop()
	found := errors.New("found")
	names := k.names(id)
	err := k.Store.ProviderConnections(looking, func(of string) bool { return slices.Contains(names, of) }, func(ctx context.Context, _, _ int) error { return ctx.Err() },
		func(context.Context, tokenstore.ProviderConnection) error { return found })
	switch {
	case errors.Is(err, found):
		return true, nil
	case err != nil && looking.Err() != nil && ctx.Err() == nil:
		return true, nil // there are many connections, and whose is found out in the background
	}
	return false, err
}

// write writes a record, and makes it current here before it returns.
func (k *Catalog) write(ctx context.Context, old tokenstore.Held[tokenstore.RuntimeProvider], next tokenstore.RuntimeProvider) (Entry, error) {
	held, err := k.Store.SwapRuntimeProvider(ctx, old, next)
	if err != nil {
		if errors.Is(err, tokenstore.ErrChanged) {
			return Entry{}, ErrChanged
		}
		return Entry{}, err
	}
	e := k.entryFrom(&held.Value, held.ProviderStamp())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes++
	e.wrote = k.writes
	if err := k.put(ctx, map[ath.Tag]*entry{tokenstore.ProviderTag(next.ID): e}); err != nil {
		return Entry{}, err
	}
	k.wakeDrain()
	return e.Entry, nil
}
