package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/athd/athd/admin"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/config"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
	"github.com/athd/athd/watch"
)

// A front is what agents, browsers and operators speak to over HTTP. What answers
// them is made from the settings as a whole, and exchanged as a whole while requests
// are served: a request has one configuration from its beginning to its end.
type front struct {
	providers *provider.Providers
	catalog   *catalog.Catalog
	store     *tokenstore.Store
	oauth     *provider.Client
	issuers   *issuer.Keeper
	decider   *authz.Decider
	refresher *vault.Vault
	streams   *watch.Registry
	trail     *audit.Log
	metrics   *metrics
	log       *slog.Logger

	current atomic.Pointer[doors]
}

// doors are the handlers of one configuration.
type doors struct {
	companion http.Handler
	operators http.Handler // on the admin listener; nil: they use the companion

	// What the next ones go on with.
	turns    *httpapi.Turns
	verifier *attest.Verifier
	server   *httpapi.Server
	since    time.Time
}

// open has requests that come from now on answered by d.
func (f *front) open(d *doors) { f.current.Store(d) }

// ServeHTTP serves the companion.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.current.Load().companion.ServeHTTP(w, r)
}

// whoOperates are the operators of now.
func (f *front) whoOperates() []httpapi.Operator {
	return httpapi.OperatorsOf(f.current.Load().server.AdminTokens)
}

// operators serve the admin listener below /ath/; nil: nobody does.
func (f *front) operators() http.Handler { return f.current.Load().operators }

// make makes the doors of a configuration. They are not open yet.
func (f *front) make(s *config.Settings) (*doors, error) {
	d, before := &doors{}, f.current.Load()
	if before != nil {
		d.turns, d.since = before.turns, before.since
	} else {
		d.turns = httpapi.NewTurns()
	}
	var err error
	if d.verifier, err = f.verifier(s, d, before); err != nil {
		return nil, err
	}
	limits := s.Limits
	limits.Renewals = ratelimit.Rate{N: httpapi.RenewalsPerToken, Per: s.TokenTTL}
	c := httpapi.Config{
		Store: f.store, Audit: f.trail, Logger: f.log, AdminTokens: s.AdminTokens, Limits: limits, Turns: d.turns,
		Limited: f.metrics.observeLimit, OperatorRefused: f.metrics.operators.observe, Now: s.Store.Now,
	}
	if before != nil {
		c.Before = before.server
	}
	if d.server, err = httpapi.New(c); err != nil {
		return nil, err
	}
	return d, f.handlers(s, d)
}

// verifier knows what the one before has learned.
func (f *front) verifier(s *config.Settings, d, before *doors) (*attest.Verifier, error) {
	if before != nil {
		return before.verifier.With(s.Pinned)
	}
	return attest.New(attest.Config{
		Turn:      d.turns.Run,
		AllowHTTP: s.Development.AllowHTTP, AllowPrivateHosts: s.Development.AllowPrivateHosts, SkipVerification: s.Development.SkipAttestation, Pinned: s.Pinned,
		Once: func(ctx context.Context, agent ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
			return f.store.Once(ctx, agent.Tag(), what, value, ttl)
		},
		Logger: f.log, Now: s.Store.Now,
	})
}

func (f *front) handlers(s *config.Settings, d *doors) error {
	operate, err := admin.New(admin.Config{
		Server: d.server, Providers: f.providers, Attest: d.verifier, Policy: s.Policy, Issuers: f.issuers, Since: d.since,
		Catalog: f.catalog, ProviderOptions: s.RuntimeProviderOptions(), RuntimeRoute: s.Envoy.RuntimeProviders, ProvidersFile: s.ProvidersFile,
		Destination: s.Envoy.Destination, Envoy: s.Envoy.Asks(), ConsentHost: s.ConsentHost(), CallbackPerProvider: s.CallbackPerProvider, Explain: admin.Explainer(f.decider), Refresh: f.refresher.Ask, Streams: f.streams.List,
	})
	if err != nil {
		return err
	}
	d.since = operate.Since
	c := athflow.Config{
		Server: d.server, PublicURL: s.PublicURL, ConsentURL: s.ConsentURL, Providers: f.providers, Attest: d.verifier,
		OAuth: f.oauth, Policy: s.Policy, Renewer: f.refresher, Renewed: f.metrics.observeRenewal,
		TokenTTL: s.TokenTTL, SessionTTL: s.SessionTTL, Consent: s.Consent, Renewal: s.Renewal, CallsPerGrant: s.CallsPerGrant, RunBy: s.Operator, CallbackPerProvider: s.CallbackPerProvider,
		ObserveHealing: f.metrics.observeHealing,
		AllowHTTP:      s.Development.AllowHTTP, AcceptAnyCode: s.Development.AcceptAnyCode, SkipAttestation: s.Development.SkipAttestation,
	}
	if s.AdminPrivate {
		d.operators = operate.Handler()
	} else {
		c.Operators = operate.Routes()
	}
	flow, err := athflow.New(c)
	if err != nil {
		return err
	}
	d.companion = flow.Handler()
	return nil
}
