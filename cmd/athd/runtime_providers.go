package main

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/config"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// providersPatience is how long the start waits for the run-time providers: if Redis
// is away, those that ask for one are answered 503 until it is not.
const providersPatience = 2 * time.Second

// A providerCatalog knows the providers of the files, and those that operators add
// while athd runs, which are read by what the configuration says now.
type providerCatalog struct {
	*catalog.Catalog
	options atomic.Pointer[provider.Options]
}

// storedOptions are for providers that were checked when they were added: one whose
// links are no longer rewritten, since nobody hears of replies any more, still serves.
func storedOptions(s *config.Settings) provider.Options {
	options := s.RuntimeProviderOptions()
	options.ChecksReplies = true
	return options
}

func newCatalog(s *config.Settings, store *tokenstore.Store, issuers *issuer.Keeper, providers *provider.Providers, trail *audit.Log, log *slog.Logger) (*providerCatalog, error) {
	c := &providerCatalog{}
	options := storedOptions(s)
	c.options.Store(&options)
	var err error
	c.Catalog, err = catalog.New(catalog.Config{
		Store: store, Issuers: issuers, Providers: providers, Files: s.Providers, Audit: trail, Logger: log, Now: s.Store.Now,
		Parse: func(id string, data []byte) (*provider.Provider, error) {
			p, faults := provider.ParseOne(id, data, *c.options.Load())
			return p, faults.Err()
		},
	})
	return c, err
}

// use takes the providers of another configuration, and reads the run-time ones again
// where they would be read otherwise by it. An error changes nothing: whoever tries
// again has them read again.
func (c *providerCatalog) use(ctx context.Context, s *config.Settings) error {
	if err := c.mixedUp(s); err != nil {
		return err
	}
	before, options := c.options.Load(), storedOptions(s)
	if !reflect.DeepEqual(options, *before) {
		c.options.Store(&options)
		if err := c.Reparse(ctx); err != nil {
			c.options.Store(before)
			return err
		}
	}
	return c.UseFiles(ctx, s.Providers)
}

// mixedUp refuses files that hold no client which another OAuth server could harm, but
// do beside the run-time providers that there are (RFC 9700, section 4.4).
func (c *providerCatalog) mixedUp(s *config.Settings) error {
	current := c.Providers.Current()
	all := s.Providers.All()
	for _, p := range current.All() {
		if p.Runtime && s.Providers.Get(p.ID) == nil {
			all = append(all, p)
		}
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		return err
	}
	mixed := provider.MixedUp(set, s.CallbackPerProvider)
	if len(mixed) == 0 || len(provider.MixedUp(current, s.CallbackPerProvider)) > 0 {
		return nil // or it was so already
	}
	return fmt.Errorf("provider %s: token_auth_method is %s", mixed[0].ID, provider.MixUp)
}

// first reads the run-time providers for the first time.
func (c *providerCatalog) first(ctx context.Context, log *slog.Logger) {
	ctx, stop := context.WithTimeout(ctx, providersPatience)
	defer stop()
	if err := c.Load(ctx); err != nil {
		log.WarnContext(ctx, "run-time providers not read yet", "reason", tokenstore.Reason(err), "error", err,
			"hint", "requests for one are answered 503 until they are")
	}
	for _, p := range provider.MixedUp(c.Providers.Current(), c.options.Load().CallbackPerProvider) {
		log.WarnContext(ctx, "a provider's codes could be redeemed by another OAuth server", "provider_id", p.ID, "reason", "token_auth_method is "+provider.MixUp)
	}
}
