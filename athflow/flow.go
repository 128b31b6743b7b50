package athflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// The ways in which a user is led to the provider (Z-3, Z-5).
const (
	ConsentPage     = "page"     // a page of ours asks first: the default
	ConsentRedirect = "redirect" // through us, so that the browser is bound, but without asking
	ConsentDirect   = "direct"   // straight to the provider: no binding, for clients and tests that need it
)

// Upper bounds that no configuration exceeds.
const (
	MaxTokenTTL   = time.Hour        // T-6
	MaxSessionTTL = 10 * time.Minute // Z-4
)

// Config configures a [Flow]. Everything but the last group is required.
type Config struct {
	PublicURL  string              // Envoy's, as agents and browsers see it; no trailing slash
	ConsentURL string              // the origin of the consent pages; "": PublicURL. A host of its own, or PublicURL
	Providers  *provider.Providers // may be replaced at any time
	Store      *tokenstore.Store
	Attest     *attest.Verifier
	OAuth      *provider.Client
	Audit      *audit.Log
	Logger     *slog.Logger
	Policy     Policy
	TokenTTL   time.Duration // at most MaxTokenTTL
	SessionTTL time.Duration // at most MaxSessionTTL
	Consent    string        // ConsentPage, ConsentRedirect or ConsentDirect

	// CallbackPerProvider gives each OAuth server a redirect URI of its own,
	// /ath/callback/{provider_id}. Apps bring theirs with them.
	CallbackPerProvider bool

	Now         func() time.Time // nil: time.Now
	AdminTokens []AdminToken     // none: nobody is an operator
	// AdminPrivate keeps operators from Handler: they are known to
	// AdminHandler alone.
	AdminPrivate bool
	Limits       Limits // the zero value: DefaultLimits
	Destination  string // how Envoy says where a request goes, as operators are told it

	// Turns are shared with what verifies attestations. nil: it has none.
	Turns *Turns

	// Limited is called with what was too much, one of [LimitNames], for
	// metrics. nil: nobody counts.
	Limited func(limit string)

	// Explain judges a call that nobody makes, for operators. nil: nobody can
	// ask for that.
	Explain func(context.Context, ExplainRequest) (*Explanation, error)

	// Development options; each relaxes one rule.
	AllowHTTP       bool // http agent ids
	AcceptAnyCode   bool // T-1: any code is taken for the session's
	SkipAttestation bool // only told in discovery here
}

// An AdminToken lets its bearer act as an operator. Only its digest is kept.
type AdminToken struct {
	Name   string
	Digest ath.Digest
}

// A Flow is the handshake. It keeps nothing between requests but what limits
// them: all state is in the store.
type Flow struct {
	Config
	pages   *pages
	limiter *limiter
	origins *origins
}

// New checks the configuration once.
func New(c Config) (*Flow, error) {
	switch {
	case c.PublicURL == "" || c.Providers == nil || c.Store == nil || c.Attest == nil || c.OAuth == nil || c.Audit == nil || c.Logger == nil:
		return nil, errors.New("athflow: public URL, providers, store, attestation verifier, OAuth client, audit log and logger are required")
	case c.TokenTTL <= 0 || c.TokenTTL > MaxTokenTTL:
		return nil, fmt.Errorf("athflow: a token's life must be between 0 and %v", MaxTokenTTL)
	case c.SessionTTL <= 0 || c.SessionTTL > MaxSessionTTL:
		return nil, fmt.Errorf("athflow: a session's life must be between 0 and %v", MaxSessionTTL)
	case c.Consent != ConsentPage && c.Consent != ConsentRedirect && c.Consent != ConsentDirect:
		return nil, fmt.Errorf("athflow: no such kind of consent: %q", c.Consent)
	}
	if err := c.Policy.check(); err != nil {
		return nil, err
	}
	for _, t := range c.AdminTokens {
		if t.Digest.IsZero() || t.Name == "" {
			return nil, errors.New("athflow: an admin token has no name or no digest")
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ConsentURL == "" {
		c.ConsentURL = c.PublicURL
	}
	origins := newOrigins(&c)
	if origins.name.IsZero() {
		return nil, errors.New("athflow: the consent URL names no host")
	}
	if !origins.separate && c.ConsentURL != c.PublicURL {
		return nil, errors.New("athflow: the consent URL has the public URL's host name, and is another URL")
	}
	if c.Turns == nil {
		c.Turns = NewTurns()
	}
	pages, err := newPages(c.Turns)
	if err != nil {
		return nil, err
	}
	if c.Limited == nil {
		c.Limited = func(string) {}
	}
	limiter, err := newLimiter(c.Limits, c.Limited)
	if err != nil {
		return nil, err
	}
	return &Flow{Config: c, pages: pages, limiter: limiter, origins: origins}, nil
}

// Handler serves the companion's routes. Paths are compared as they are:
// nothing is cleaned or redirected, since a request may come here by a path
// that Envoy resolved.
func (f *Flow) Handler() http.Handler {
	routes := map[string]methods{
		ath.HealthPath:        {http.MethodGet: http.HandlerFunc(f.serveHealth)},
		ath.DiscoveryPath:     {http.MethodGet: http.HandlerFunc(f.serveDiscovery)},
		ath.AppDiscoveryPath:  {http.MethodGet: http.HandlerFunc(f.serveAppDiscovery)},
		ath.RegisterPath:      {http.MethodPost: serveJSON(f, http.StatusCreated, audit.AgentRegistrationDenied, f.register)},
		ath.AuthorizePath:     {http.MethodPost: serveJSON(f, http.StatusOK, audit.AccessDenied, f.authorize)},
		ath.TokenPath:         {http.MethodPost: serveJSON(f, http.StatusOK, audit.AccessDenied, f.token)},
		ath.RevokePath:        {http.MethodPost: serveJSON(f, http.StatusOK, audit.AccessDenied, f.revoke)},
		ath.ConsentStartPath:  {http.MethodGet: f.servePage(f.start)},
		ath.ConsentDecidePath: {http.MethodPost: f.servePage(f.decide)},
		ath.ConsentDonePath:   {http.MethodGet: f.servePage(f.done)},
		ath.CallbackPath:      {http.MethodGet: f.servePage(f.callback)},
	}
	agentRoutes := f.agentRoutes()
	if f.AdminPrivate {
		routes[ath.RevokePath] = methods{http.MethodPost: serveJSON(f, http.StatusOK, audit.AccessDenied, f.revokeOwn)}
	} else {
		maps.Copy(routes, f.operatorRoutes())
		maps.Copy(agentRoutes, f.operatorAgentRoutes())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer f.recoverPanic(w, r)
		m, ok := routes[r.URL.Path]
		if !ok {
			m, ok = agentRoute(agentRoutes, r)
		}
		if name, of := strings.CutPrefix(r.URL.Path, ath.CallbackPath+"/"); of && f.Providers.Current().Get(name) != nil {
			m, ok = routes[ath.CallbackPath], true
		}
		on := f.origins.ground(r.Host)
		if !ok || r.URL.RawPath != "" || !on.answers(r.URL.Path) {
			r = unreadBody(w, r)
			f.limited(w, r, strangers, f.refuses(ath.Errorf(ath.NotFound, "There is nothing at this path.")))
			return
		}
		h, ok := m.lookup(r.Method)
		if !ok {
			w.Header().Set("Allow", m.allow())
			r = unreadBody(w, r)
			h = f.refuses(ath.Errorf(ath.MethodNotAllowed, "This path does not take this method."))
		}
		switch {
		case r.Header.Get("Service-Worker") != "":
			h = f.refuses(ath.Errorf(ath.InvalidRequest, "No script of a service worker is here."))
		case ok && on == handshake && isCallback(r.URL.Path):
			h = http.HandlerFunc(f.sendOn)
		}
		in := f.laneOf(r)
		if ok && in != operators && strings.HasPrefix(r.URL.Path, ath.AdminPath) {
			r = unreadBody(w, r)
			h = f.refuses(f.noOperator(r.Header, clientAddress(r, f.limiter.Envoys)))
		}
		f.limited(w, r, in, h)
	})
}
