package catalog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// Load reads all run-time providers. Until it has succeeded once, [Catalog.Loaded] is
// false.
func (k *Catalog) Load(ctx context.Context) error {
	k.mu.Lock()
	began := k.writes
	k.mu.Unlock()
	tags, err := k.Store.RuntimeProviderTags(ctx)
	if err != nil {
		return err
	}
	read, err := k.Store.RuntimeProviders(ctx, tags, k.stampOf)
	if err != nil {
		return err
	}
	found := k.parse(read)
	k.mu.Lock()
	defer k.mu.Unlock()
	there := make(map[ath.Tag]bool, len(tags))
	for _, tag := range tags {
		there[tag] = true
	}
	for tag := range k.entries {
		if !there[tag] {
			found[tag] = nil
		}
	}
	k.loaded = true
	return k.take(ctx, found, began)
}

// Reparse reads all of them again, also those that did not change: they are to be
// understood in another way.
func (k *Catalog) Reparse(ctx context.Context) error {
	k.mu.Lock()
	for _, e := range k.entries {
		e.stamp = tokenstore.ProviderStamp{}
	}
	k.mu.Unlock()
	return k.Load(ctx)
}

// read reads one record again.
func (k *Catalog) read(ctx context.Context, tag ath.Tag) error {
	k.mu.Lock()
	began := k.writes
	k.mu.Unlock()
	read, err := k.Store.RuntimeProviders(ctx, []ath.Tag{tag}, k.stampOf)
	if err != nil {
		return err
	}
	found := k.parse(read)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	return k.take(ctx, found, began)
}

// stampOf is the record that is known.
func (k *Catalog) stampOf(tag ath.Tag) tokenstore.ProviderStamp {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[tag]; e != nil && e.Err == nil {
		return e.stamp
	}
	return tokenstore.ProviderStamp{} // what could not be read may be by now
}

// take takes what was read. What was written here since the reading began is newer,
// and is read again when the feed tells of it.
func (k *Catalog) take(ctx context.Context, found map[ath.Tag]*entry, began uint64) error {
	for tag := range found {
		if e := k.entries[tag]; e != nil && e.wrote > began {
			delete(found, tag)
		}
	}
	if err := k.put(ctx, found); err != nil {
		return err
	}
	k.wakeDrain()
	return nil
}

// parse reads records, on all processors. Those that are known are left out; nil: it
// is gone.
func (k *Catalog) parse(read []tokenstore.ReadProvider) map[ath.Tag]*entry {
	out := make(map[ath.Tag]*entry, len(read))
	var mu sync.Mutex
	var all sync.WaitGroup
	each := make(chan *tokenstore.ReadProvider)
	for range min(runtime.GOMAXPROCS(0), len(read)) {
		all.Go(func() {
			for r := range each {
				e := k.entryOf(r)
				mu.Lock()
				out[r.Tag] = e
				mu.Unlock()
			}
		})
	}
	for i := range read {
		if !read[i].Same {
			each <- &read[i]
		}
	}
	close(each)
	all.Wait()
	return out
}

func (k *Catalog) entryOf(r *tokenstore.ReadProvider) *entry {
	switch {
	case errors.Is(r.Err, tokenstore.ErrNotFound):
		return nil
	case r.Err != nil:
		return &entry{Entry: Entry{Err: r.Err}, stamp: r.Stamp}
	}
	return k.entryFrom(&r.Value, r.Stamp)
}

// entryFrom is what a record says, as far as this athd understands it.
func (k *Catalog) entryFrom(v *tokenstore.RuntimeProvider, stamp tokenstore.ProviderStamp) *entry {
	e := &entry{stamp: stamp, Entry: Entry{
		ID: v.ID, State: v.State, Generation: v.Generation, Ending: len(v.Former) > 0, Left: v.Left,
		Created: v.Created, CreatedBy: v.CreatedBy, Changed: v.Changed, ChangedBy: v.ChangedBy,
	}}
	if !v.Config.IsZero() {
		e.Provider, e.Err = k.parseOne(v.ID, v.Config)
	}
	for _, f := range v.Former {
		p, err := k.parseOne(v.ID, f.Config)
		if err != nil {
			p = nil
		}
		e.former = append(e.former, former{p, f.Until})
	}
	return e
}

// parseOne reads a provider's fields. One that makes this athd panic must not end it,
// again at each start: it is one that cannot be read.
func (k *Catalog) parseOne(id string, config ath.Secret) (p *provider.Provider, err error) {
	defer func() {
		if r := recover(); r != nil {
			// The value may hold anything of the configuration: its type is enough.
			p, err = nil, fmt.Errorf("a fault of athd (panic: %T)", r)
		}
	}()
	p, err = k.Parse(id, []byte(config.Reveal()))
	if err != nil {
		return nil, err
	}
	if p.ID != id || p.App != nil {
		return nil, errors.New("it is another provider's")
	}
	p.Runtime = true
	return p, nil
}
