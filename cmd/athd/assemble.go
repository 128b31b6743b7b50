package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/config"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extauthz"
	"github.com/athd/athd/envoy/extproc"
	"github.com/athd/athd/envoy/reply"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/envoy/watcher"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/revocation"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
	"github.com/athd/athd/watch"
)

// An assembly is athd put together, with no listener yet.
type assembly struct {
	store     *tokenstore.Store
	decider   *authz.Decider
	streams   *watch.Registry
	oauth     *provider.Client
	asked     *server.Server // gRPC
	front     *front
	companion http.Handler // front, or around it
	ready     *readiness
	metrics   *metrics
	trail     *audit.Log
	vault     *vault.Vault
	revoker   *revocation.Worker
	issuers   *issuer.Keeper
	providers *provider.Providers
	catalog   *providerCatalog
	keyset    *keysetFollower
	log       *slog.Logger

	reloader *reloader      // nil: the configuration is not followed
	level    *slog.LevelVar // of the log; nil: it stays as it is
}

// assemble builds every part from the settings. It asks nobody: the store may
// come later.
func assemble(s *config.Settings, log *slog.Logger, events io.Writer) (_ *assembly, err error) {
	providers := provider.NewProviders(s.Providers)
	now := s.Store.Now // nil, but for tests: the clock of all parts
	m := newMetrics(providers)
	where := s.Store
	where.URL = s.StoreURL.Reveal()
	found := &unreadables{now: time.Now}
	where.Unreadable = func(record, key string) {
		m.unreadable.WithLabelValues(record).Inc()
		found.tell(key)
	}
	policy := &revocation.Policy{Providers: providers, Logger: log, Observe: m.observeRevocation}
	where.Observe, where.Logger, where.Upstream = m.observeStore, log, policy
	store, err := tokenstore.Open(where)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			store.Close()
		}
	}()
	trail, err := newTrail(events, s, m, log)
	if err != nil {
		return nil, err
	}
	found.trail.Store(trail)
	oauth := provider.NewClient(provider.ClientConfig{AllowHTTP: s.Development.AllowHTTP, AllowPrivate: s.Development.AllowPrivateHosts, Egress: s.Egress, Now: now})
	refresher, err := vault.New(vault.Config{Store: store, OAuth: oauth, Userinfo: oauth, Providers: providers, Audit: trail, Logger: log, Observe: m.observeRefresh, Now: now})
	if err != nil {
		return nil, err
	}
	decider, err := authz.New(authz.Config{
		Store: store, Held: store, Renewer: refresher, Providers: providers, Audit: trail, Logger: log, Observe: m.observeDecision,
		PublicURL: s.PublicURL, ByHost: s.Envoy.Destination == config.DestinationByHostAndPath, ConsentHost: s.ConsentHost(), CallbackPerProvider: s.CallbackPerProvider,
		Policy: s.Policy, CallsPerGrant: s.CallsPerGrant, Used: store.Used, Healer: store, ConsentURL: s.ConsentURL, Now: now,
		Rejected: refresher.Rejected, ObserveRejected: m.observeRejected,
	})
	if err != nil {
		return nil, err
	}
	streams, err := newStreams(s, store, decider, providers, trail, m, log)
	if err != nil {
		return nil, err
	}
	replies, err := reply.New(reply.Config{Providers: providers, PublicURL: s.PublicURL, Audit: trail, Logger: log, Now: now, Observe: m.observeReply})
	if err != nil {
		return nil, err
	}
	asked, err := newAsked(s, decider, streams, replies, log)
	if err != nil {
		return nil, err
	}
	issuers, err := issuer.New(issuer.Config{Store: store, Providers: providers, Fetch: oauth.Metadata, Audit: trail, Logger: log, Now: now})
	if err != nil {
		return nil, err
	}
	known, err := newCatalog(s, store, issuers, providers, trail, log)
	if err != nil {
		return nil, err
	}
	policy.Find = known.Find
	front := &front{providers: providers, catalog: known.Catalog, store: store, oauth: oauth, issuers: issuers, decider: decider, refresher: refresher, streams: streams, trail: trail, metrics: m, log: log}
	doors, err := front.make(s)
	if err != nil {
		return nil, err
	}
	front.open(doors)
	seals := newKeysetMetrics()
	keyset := newKeysetFollower(s, store, log, seals.observe)
	keyset.trail = trail
	m.showKeyset(seals, store.Keyset, keyset.status)
	ready := &readiness{store: store.Ready, keyset: keyset.status, feed: store.Feed, audit: trail.Unwritten, issuers: issuers.Status, catalog: known.Status, warnings: s.Warnings}
	m.showIssuers(issuers.Status)
	m.showCatalog(known.Status)
	m.showUses(store.UsesDropped)
	m.showReadiness(ready)
	m.showOperators(front.whoOperates)
	m.showUnwritten(trail)
	m.showFeed(store.Feed)
	m.showRefreshes(refresher, providers)
	revoker, err := revocation.New(revocation.Config{Policy: policy, Store: store, OAuth: oauth, Audit: trail, Now: now})
	if err != nil {
		return nil, err
	}
	m.showRevocations(revoker.Queue)
	return &assembly{store: store, decider: decider, streams: streams, oauth: oauth, asked: asked, front: front, companion: front, metrics: m, ready: ready, trail: trail, vault: refresher, revoker: revoker, issuers: issuers, providers: providers, catalog: known, keyset: keyset, log: log}, nil
}

// newStreams returns the registry of the calls that go on. The decider must have the
// providers first.
func newStreams(s *config.Settings, store *tokenstore.Store, decider *authz.Decider, providers *provider.Providers, trail *audit.Log, m *metrics, log *slog.Logger) (*watch.Registry, error) {
	shown := newStreamMetrics()
	streams, err := watch.New(watch.Config{
		Holds: decider.Holds, Changes: func() watch.Changes { return store.Watch() }, Providers: providers,
		Limits: s.Streams, Keep: s.Envoy.KeepsStreams, Audit: trail, Logger: log, Now: s.Store.Now,
		Ended: shown.observeEnd, Refused: shown.observeRefusal,
	})
	if err == nil {
		m.showStreams(shown, streams.Len)
	}
	return streams, err
}

// newAsked returns the gRPC server that Envoy asks.
func newAsked(s *config.Settings, decider *authz.Decider, watched *watch.Registry, replies *reply.Role, log *slog.Logger) (*server.Server, error) {
	judge, err := exchange.NewJudge(exchange.Config{
		Decide: decider.Decide, Held: s.Envoy.WatchesStreams || s.Envoy.ChecksReplies, TrustedHops: s.Envoy.TrustedHops, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	// Without a role, as where a platform writes the filter, a stream judges.
	streams, err := extproc.New(extproc.Config{
		Roles: exchange.Roles{
			envoy.RoleJudge: judge,
			envoy.RoleRetry: exchange.Retry{Rejected: decider.Rejected},
			envoy.RoleWatch: watcher.Watcher{Registry: watched},
			envoy.RoleReply: replies,
		}, Default: []string{envoy.RoleJudge}, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	c := server.Config{
		Services: []server.Service{extauthz.New(judge), streams}, TLS: s.TLS.Config(), Logger: log,
		// Before time is over, so that what ends then has ended when it is.
		Drain: func(ctx context.Context) { watched.Drain(ctx, drainTime/2) },
	}
	if s.TLS != nil {
		c.ClientSANs = s.TLS.ClientSANs
	}
	return server.New(c)
}

// firstLook says once, in the log, what the store is like.
func (a *assembly) firstLook(ctx context.Context, log *slog.Logger) {
	health, err := a.ready.ask(ctx)
	if err != nil {
		if errors.Is(err, tokenstore.ErrOtherKeyset) {
			log.Error("redis written with another keyset", "addr", a.store.String(), "reason", tokenstore.Reason(err), "hint", "give this athd the keyset that the others have: nothing is read or written with another one")
		}
		log.Warn("redis unavailable", "op", "ready", "addr", a.store.String(), "reason", tokenstore.Reason(err), "error", err,
			"hint", "decisions and handshakes are answered 503 until it answers")
		return
	}
	for _, c := range health.Concerns() {
		log.Warn(c.Text)
	}
	if !health.Embedded && !health.Persistent {
		log.Warn("redis may not persist", "addr", a.store.String(), "hint", "it is not known to write to disk: a restart of it may lose every grant")
	}
	log.Info("redis available", "addr", a.store.String(), "server", health.Server)
}
