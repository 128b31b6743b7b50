package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/athd/athd/admin"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/config"
	"github.com/athd/athd/envoy/extauthz"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/revocation"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// An assembly is athd put together, with no listener yet.
type assembly struct {
	store     *tokenstore.Store
	checks    *extauthz.Server // gRPC
	companion http.Handler
	operators http.Handler // on the admin listener; nil: they use the companion
	ready     *readiness
	metrics   *metrics
	trail     *audit.Log
	vault     *vault.Vault
	revoker   *revocation.Worker
	issuers   *issuer.Keeper
	providers *provider.Providers
}

// assemble builds every part from the settings. It asks nobody: the store may
// come later.
func assemble(s *config.Settings, log *slog.Logger, events io.Writer) (_ *assembly, err error) {
	providers := provider.NewProviders(s.Providers)
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
	oauth := provider.NewClient(provider.ClientConfig{AllowHTTP: s.Development.AllowHTTP, AllowPrivate: s.Development.AllowPrivateHosts})
	refresher, err := vault.New(vault.Config{Store: store, OAuth: oauth, Providers: providers, Audit: trail, Logger: log, Observe: m.observeRefresh})
	if err != nil {
		return nil, err
	}
	decider, err := authz.New(authz.Config{
		Store: store, Renewer: refresher, Providers: providers, Audit: trail, Logger: log, Observe: m.observeDecision,
		PublicURL: s.PublicURL, ByHost: s.Envoy.Destination == config.DestinationByHostAndPath, ConsentHost: s.ConsentHost(), CallbackPerProvider: s.CallbackPerProvider,
		Used: store.Used,
	})
	if err != nil {
		return nil, err
	}
	c := extauthz.Config{Decide: decider.Decide, TLS: s.TLS.Config(), TrustedHops: s.Envoy.TrustedHops, Logger: log}
	if s.TLS != nil {
		c.ClientSANs = s.TLS.ClientSANs
	}
	checks, err := extauthz.NewServer(c)
	if err != nil {
		return nil, err
	}
	issuers, err := issuer.New(issuer.Config{Store: store, Providers: providers, Fetch: oauth.Metadata, Audit: trail, Logger: log})
	if err != nil {
		return nil, err
	}
	companion, operators, err := newCompanion(s, providers, store, oauth, issuers, decider, refresher, trail, m, log)
	if err != nil {
		return nil, err
	}
	ready := &readiness{store: store.Ready, feed: store.Feed, audit: trail.Unwritten, issuers: issuers.Status, warnings: s.Warnings}
	m.showIssuers(issuers.Status)
	m.showUses(store.UsesDropped)
	m.showReadiness(ready)
	m.showUnwritten(trail)
	m.showFeed(store.Feed)
	m.showRefreshes(refresher, providers)
	revoker, err := revocation.New(revocation.Config{Policy: policy, Store: store, OAuth: oauth, Audit: trail})
	if err != nil {
		return nil, err
	}
	m.showRevocations(revoker.Queue)
	return &assembly{store: store, operators: operators, checks: checks, companion: companion, metrics: m, ready: ready, trail: trail, vault: refresher, revoker: revoker, issuers: issuers, providers: providers}, nil
}

// newCompanion returns what serves the handshake, and what serves operators on
// the admin listener: nil where they use the handshake's.
func newCompanion(s *config.Settings, providers *provider.Providers, store *tokenstore.Store, oauth *provider.Client, issuers *issuer.Keeper, decider *authz.Decider, refresher *vault.Vault, trail *audit.Log, m *metrics, log *slog.Logger) (companion, operators http.Handler, err error) {
	d := s.Development
	turns := httpapi.NewTurns()
	verifier, err := attest.New(attest.Config{
		Turn:      turns.Run,
		AllowHTTP: d.AllowHTTP, AllowPrivateHosts: d.AllowPrivateHosts, SkipVerification: d.SkipAttestation, Pinned: s.Pinned,
		Once: func(ctx context.Context, agent ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
			return store.Once(ctx, agent.Tag(), what, value, ttl)
		},
		Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	server, err := httpapi.New(httpapi.Config{
		Store: store, Audit: trail, Logger: log, AdminTokens: s.AdminTokens, Limits: s.Limits, Turns: turns, Limited: m.observeLimit,
	})
	if err != nil {
		return nil, nil, err
	}
	operate, err := admin.New(admin.Config{
		Server: server, Providers: providers, Attest: verifier, Policy: s.Policy, Issuers: issuers,
		Destination: s.Envoy.Destination, ConsentHost: s.ConsentHost(), CallbackPerProvider: s.CallbackPerProvider, Explain: admin.Explainer(decider), Refresh: refresher.Ask,
	})
	if err != nil {
		return nil, nil, err
	}
	c := athflow.Config{
		Server: server, PublicURL: s.PublicURL, ConsentURL: s.ConsentURL, Providers: providers, Attest: verifier,
		OAuth: oauth, Policy: s.Policy,
		TokenTTL: s.TokenTTL, SessionTTL: s.SessionTTL, Consent: s.Consent, CallbackPerProvider: s.CallbackPerProvider,
		AllowHTTP: d.AllowHTTP, AcceptAnyCode: d.AcceptAnyCode, SkipAttestation: d.SkipAttestation,
	}
	if s.AdminPrivate {
		operators = operate.Handler()
	} else {
		c.Operators = operate.Routes()
	}
	flow, err := athflow.New(c)
	if err != nil {
		return nil, nil, err
	}
	return flow.Handler(), operators, nil
}

// firstLook says once, in the log, what the store is like.
func (a *assembly) firstLook(ctx context.Context, log *slog.Logger) {
	health, err := a.ready.ask(ctx)
	if err != nil {
		if errors.Is(err, tokenstore.ErrOtherKeyset) {
			log.Error("redis written with another keyset", "addr", a.store.String(), "hint", "nothing that it holds opens: give this athd the keyset that the others have")
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
