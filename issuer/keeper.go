package issuer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
	"github.com/athd/athd/tokenstore"
)

const (
	// everyDay is how long after an answer the issuer is asked again, but for a
	// tenth of it, by which athd differ.
	everyDay = 24 * time.Hour
	// retryAfter is how long after a first failure. It doubles, up to a limit that
	// is lower where providers wait for it.
	retryAfter   = time.Second
	retryWaiting = 30 * time.Second
	retryKnown   = 5 * time.Minute
	// turnFor is how long one athd has the turn to ask, for all of them.
	turnFor = 2 * time.Second
)

// Config configures a [Keeper].
type Config struct {
	Store *tokenstore.Store // required
	// Providers hold the providers as they are configured; the Keeper puts those
	// in their place that have endpoints, as these become known. Required.
	Providers *provider.Providers
	// Fetch asks a provider's issuer: [provider.Client.Metadata]. Required.
	Fetch  func(context.Context, *provider.Provider) (*metadata.Document, error)
	Audit  *audit.Log   // required
	Logger *slog.Logger // required

	Now   func() time.Time // nil: time.Now
	Every time.Duration    // between two answers; default a day
	Retry time.Duration    // after a first failure; default 1 s
}

// atOnce is how many issuers are looked up in the store at a time.
const atOnce = 32

// A Keeper keeps the metadata of all issuers of the providers that are configured.
type Keeper struct {
	Config
	turns chan struct{} // holds one for each that looks an issuer up

	mu         sync.Mutex
	configured *provider.Set // as they are written
	issuers    map[string]*kept
	byTag      map[ath.Tag]*kept
	run        func(*kept) // begins to keep one; nil: nobody runs

	replacing sync.Mutex // comes after no other
}

// kept is one issuer.
type kept struct {
	issuer string

	wake  chan struct{} // holds one where the record may have changed
	first chan struct{} // closed when it was tried once
	gone  chan struct{} // closed when no provider has it any more

	mu        sync.Mutex
	providers []*provider.Provider // as they are configured, by their ids; none: it is gone
	record    tokenstore.Issuer    // as it was read last, or put there
	document  *metadata.Document
	moves     []Move
	failed    error // why it could not be asked last; nil: it could
	failures  int
}

// New returns a Keeper of the providers' issuers. It asks nobody: see [Keeper.Run].
func New(c Config) (*Keeper, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("issuer: Store is required")
	case c.Providers == nil:
		return nil, errors.New("issuer: Providers is required")
	case c.Fetch == nil:
		return nil, errors.New("issuer: Fetch is required")
	case c.Audit == nil:
		return nil, errors.New("issuer: Audit is required")
	case c.Logger == nil:
		return nil, errors.New("issuer: Logger is required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Every, c.Retry = cmp.Or(c.Every, everyDay), cmp.Or(c.Retry, retryAfter)
	k := &Keeper{
		Config: c, turns: make(chan struct{}, atOnce), configured: c.Providers.Current(),
		issuers: map[string]*kept{}, byTag: map[ath.Tag]*kept{},
	}
	for _, p := range k.configured.All() {
		k.add(p)
	}
	return k, nil
}

// add is one more provider of an issuer, which it returns if it is new.
func (k *Keeper) add(p *provider.Provider) *kept {
	if !p.Discovered {
		return nil
	}
	i, known := k.issuers[p.Issuer]
	if !known {
		i = &kept{issuer: p.Issuer, wake: make(chan struct{}, 1), first: make(chan struct{}), gone: make(chan struct{})}
		k.issuers[p.Issuer], k.byTag[tokenstore.IssuerTag(p.Issuer)] = i, i
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.providers = append(slices.Clone(i.providers), p)
	slices.SortFunc(i.providers, func(a, b *provider.Provider) int { return cmp.Compare(a.ID, b.ID) })
	if known {
		return nil
	}
	return i
}

func (k *Keeper) remove(p *provider.Provider) {
	i := k.issuers[p.Issuer]
	if !p.Discovered || i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.providers = slices.DeleteFunc(slices.Clone(i.providers), func(q *provider.Provider) bool { return q == p })
}

// Configure takes other providers, as they are written, while it runs, and makes
// them current with the endpoints that are known by now. Issuers that came are asked
// at once, those that no provider has any more are let go. Where few providers
// changed it costs little, however many there are.
func (k *Keeper) Configure(ctx context.Context, set *provider.Set) error {
	k.mu.Lock()
	gone, come := provider.Diff(k.configured, set)
	var began []*kept
	for _, p := range come {
		if i := k.add(p); i != nil {
			began = append(began, i)
		}
	}
	for _, p := range gone {
		k.remove(p)
	}
	for _, p := range gone {
		if i := k.issuers[p.Issuer]; p.Discovered && i != nil && len(i.all()) == 0 {
			delete(k.issuers, p.Issuer)
			delete(k.byTag, tokenstore.IssuerTag(p.Issuer))
			close(i.gone)
		}
	}
	k.configured = set
	run := k.run
	k.mu.Unlock()
	if run != nil {
		for _, i := range began {
			run(i)
		}
	}
	return k.apply(ctx, gone, come)
}

// Run keeps the metadata until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	k.mu.Lock()
	k.run = func(i *kept) { all.Go(func() { k.keep(ctx, i) }) }
	for _, i := range k.issuers {
		k.run(i)
	}
	k.mu.Unlock()
	watch := k.Store.Watch()
	defer watch.Close()
	for {
		c, err := watch.Next(ctx)
		if err != nil {
			break
		}
		k.mu.Lock()
		switch c.Kind {
		case tokenstore.Everything:
			for _, i := range k.issuers {
				i.awake()
			}
		case tokenstore.IssuerChanged:
			if i := k.byTag[c.Tag]; i != nil {
				i.awake()
			}
		}
		k.mu.Unlock()
	}
	k.mu.Lock()
	k.run = nil
	k.mu.Unlock()
	all.Wait()
}

// Tried waits until each issuer's metadata was looked for once, but not beyond
// ctx.
func (k *Keeper) Tried(ctx context.Context) {
	for _, i := range k.all() {
		select {
		case <-i.first:
		case <-i.gone:
		case <-ctx.Done():
			return
		}
	}
}

// all returns the issuers, ordered by their first provider.
func (k *Keeper) all() []*kept {
	k.mu.Lock()
	all := slices.Collect(maps.Values(k.issuers))
	k.mu.Unlock()
	first := map[*kept]string{}
	for _, i := range all {
		if of := i.all(); len(of) > 0 {
			first[i] = of[0].ID
		}
	}
	slices.SortFunc(all, func(a, b *kept) int { return cmp.Compare(first[a], first[b]) })
	return all
}

// all returns the providers of an issuer; none of one that was let go.
func (i *kept) all() []*provider.Provider {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.providers
}

func (i *kept) awake() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// keep goes on with one issuer until it is let go, or ctx ends.
func (k *Keeper) keep(ctx context.Context, i *kept) {
	tried := false
	for {
		wait := k.step(ctx, i)
		if !tried {
			close(i.first)
			tried = true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-i.gone:
			timer.Stop()
			return
		case <-i.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// apply makes providers current that came, each with its endpoints where those are
// known, in place of those that went. It is the one place that replaces the set.
func (k *Keeper) apply(ctx context.Context, gone, come []*provider.Provider) error {
	k.replacing.Lock()
	defer k.replacing.Unlock()
	k.mu.Lock()
	configured := k.configured
	ids := make([]string, 0, len(gone))
	for _, p := range gone {
		if q := configured.Get(p.ID); q == nil || q.ID != p.ID { // it has not come back by now
			ids = append(ids, p.ID)
		}
	}
	now := make([]*provider.Provider, 0, len(come))
	for _, p := range come {
		if configured.Get(p.ID) == p { // it is not another one by now
			now = append(now, k.resolve(ctx, p))
		}
	}
	k.mu.Unlock()
	set, err := k.Providers.Current().With(ids, now...)
	if err != nil { // it was one before
		k.Logger.ErrorContext(ctx, "providers cannot be replaced", "error", err)
		return err
	}
	if configured.Loaded() {
		set = set.AsLoaded()
	} else {
		set = set.Unloaded()
	}
	k.Providers.Replace(set)
	return nil
}

// resolve returns a provider with endpoints, or as it is configured.
func (k *Keeper) resolve(ctx context.Context, p *provider.Provider) *provider.Provider {
	i := k.issuers[p.Issuer]
	if !p.Discovered || i == nil {
		return p
	}
	i.mu.Lock()
	d, first := i.document, i.record.First
	i.mu.Unlock()
	if d == nil {
		return p
	}
	q, err := p.With(d, first)
	if err != nil {
		k.Logger.ErrorContext(ctx, "metadata of the issuer cannot be used", "provider_id", p.ID, "issuer", p.Issuer, "error", err)
		return p
	}
	return q
}
