package issuer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

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

// A Keeper keeps the metadata of all issuers of a configuration.
type Keeper struct {
	Config
	configured *provider.Set
	issuers    []*kept // ordered by their first provider
	replacing  sync.Mutex
}

// kept is one issuer.
type kept struct {
	issuer    string
	providers []*provider.Provider // as they are configured; never none

	wake  chan struct{} // holds one where the record may have changed
	first chan struct{} // closed when it was tried once

	mu       sync.Mutex
	record   tokenstore.Issuer // as it was read last, or put there
	document *metadata.Document
	moves    []Move
	failed   error // why it could not be asked last; nil: it could
	failures int
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
	k := &Keeper{Config: c, configured: c.Providers.Current()}
	by := map[string]*kept{}
	for _, p := range k.configured.All() {
		if !p.Discovered {
			continue
		}
		if by[p.Issuer] == nil {
			by[p.Issuer] = &kept{issuer: p.Issuer, wake: make(chan struct{}, 1), first: make(chan struct{})}
			k.issuers = append(k.issuers, by[p.Issuer])
		}
		by[p.Issuer].providers = append(by[p.Issuer].providers, p)
	}
	return k, nil
}

// Run keeps the metadata until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	if len(k.issuers) == 0 {
		return
	}
	var all sync.WaitGroup
	for _, i := range k.issuers {
		all.Go(func() { k.keep(ctx, i) })
	}
	watch := k.Store.Watch()
	defer watch.Close()
	for {
		c, err := watch.Next(ctx)
		if err != nil {
			break
		}
		for _, i := range k.issuers {
			if c.Kind == tokenstore.Everything || c.Kind == tokenstore.IssuerChanged && c.Tag == tokenstore.IssuerTag(i.issuer) {
				i.awake()
			}
		}
	}
	all.Wait()
}

// Tried waits until each issuer's metadata was looked for once, but not beyond
// ctx.
func (k *Keeper) Tried(ctx context.Context) {
	for _, i := range k.issuers {
		select {
		case <-i.first:
		case <-ctx.Done():
			return
		}
	}
}

func (i *kept) awake() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// keep goes on with one issuer until ctx ends.
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
		case <-i.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// apply puts providers with endpoints where there are some by now.
func (k *Keeper) apply(ctx context.Context) {
	k.replacing.Lock()
	defer k.replacing.Unlock()
	by := map[string]*kept{}
	for _, i := range k.issuers {
		by[i.issuer] = i
	}
	all := k.configured.All()
	for n, p := range all {
		i := by[p.Issuer]
		if !p.Discovered || i == nil {
			continue
		}
		i.mu.Lock()
		d, first := i.document, i.record.First
		i.mu.Unlock()
		if d == nil {
			continue
		}
		q, err := p.With(d, first)
		if err != nil {
			k.Logger.ErrorContext(ctx, "metadata of the issuer cannot be used", "provider_id", p.ID, "issuer", p.Issuer, "error", err)
			continue
		}
		all[n] = q
	}
	set, err := provider.NewSet(all...)
	if err != nil { // it was one before
		k.Logger.ErrorContext(ctx, "providers cannot be replaced", "error", err)
		return
	}
	k.Providers.Replace(set)
}
