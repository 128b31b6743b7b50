package athflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
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
	*httpapi.Server
	PublicURL  string              // Envoy's, as agents and browsers see it; no trailing slash
	ConsentURL string              // the origin of the consent pages; "": PublicURL. A host of its own, or PublicURL
	Providers  *provider.Providers // may be replaced at any time
	Attest     *attest.Verifier
	OAuth      *provider.Client
	Policy     approval.Policy
	TokenTTL   time.Duration    // at most MaxTokenTTL
	SessionTTL time.Duration    // at most MaxSessionTTL
	Consent    string           // ConsentPage, ConsentRedirect or ConsentDirect
	Renewal    ath.RenewalTerms // how long consents stand where a provider says nothing of its own: told in discovery
	// CallsPerGrant is how many calls one consent is good for at one athd, told in
	// discovery; the zero Rate, and ratelimit.Unlimited: any number.
	CallsPerGrant ratelimit.Rate
	RunBy         Operator // whom users ask; it may be zero

	// CallbackPerProvider gives each OAuth server a redirect URI of its own,
	// /ath/callback/{provider_id}. Apps bring theirs with them.
	CallbackPerProvider bool

	// Renewer refreshes users' tokens at providers where a standing consent is used
	// and they have ended (T-8); nil: what has ended has ended.
	Renewer Renewer
	// ObserveHealing, if any, is called with what became of each link by which a
	// connection was to be healed, one of [HealingOutcomes].
	ObserveHealing func(provider, outcome string)

	// Renewed, if any, is called with what came of each renewal that an agent asked
	// for: one of [RenewalOutcomes]. The provider is "" where none is known.
	Renewed func(provider, outcome string)

	// Operators is the operator's API, where that is served beside the
	// handshake. None: nobody is an operator here.
	Operators httpapi.Routes

	// Development options; each relaxes one rule.
	AllowHTTP       bool // http agent ids
	AcceptAnyCode   bool // T-1: any code is taken for the session's
	SkipAttestation bool // only told in discovery here
}

// A Flow is the handshake. It keeps nothing between requests but what limits
// them: all state is in the store.
type Flow struct {
	Config
	pages   *pages
	origins *origins

	discovered atomic.Pointer[discovered] // gateway discovery of the providers of late
}

// New checks the configuration once.
func New(c Config) (*Flow, error) {
	for name, missing := range map[string]bool{
		"Server": c.Server == nil, "PublicURL": c.PublicURL == "", "Providers": c.Providers == nil, "Attest": c.Attest == nil, "OAuth": c.OAuth == nil,
	} {
		if missing {
			return nil, fmt.Errorf("athflow: %s is required", name)
		}
	}
	switch {
	case c.TokenTTL <= 0 || c.TokenTTL > MaxTokenTTL:
		return nil, fmt.Errorf("athflow: a token's life must be between 0 and %v", MaxTokenTTL)
	case c.SessionTTL <= 0 || c.SessionTTL > MaxSessionTTL:
		return nil, fmt.Errorf("athflow: a session's life must be between 0 and %v", MaxSessionTTL)
	case c.Consent != ConsentPage && c.Consent != ConsentRedirect && c.Consent != ConsentDirect:
		return nil, fmt.Errorf("athflow: no such kind of consent: %q", c.Consent)
	}
	if err := c.Policy.Check(); err != nil {
		return nil, err
	}
	if c.Renewed == nil {
		c.Renewed = func(string, string) {}
	}
	if c.ConsentURL == "" {
		c.ConsentURL = c.PublicURL
	}
	if c.ObserveHealing == nil {
		c.ObserveHealing = func(string, string) {}
	}
	origins := newOrigins(&c)
	if origins.name.IsZero() {
		return nil, errors.New("athflow: the consent URL names no host")
	}
	if !origins.separate && c.ConsentURL != c.PublicURL {
		return nil, errors.New("athflow: the consent URL has the public URL's host name, and is another URL")
	}
	pages, err := newPages(c.Turns)
	if err != nil {
		return nil, err
	}
	return &Flow{Config: c, pages: pages, origins: origins}, nil
}

// Handler serves the companion's routes. Paths are compared as they are:
// nothing is cleaned or redirected, since a request may come here by a path
// that Envoy resolved.
func (f *Flow) Handler() http.Handler {
	routes := f.routes().With(f.Operators)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer f.RecoverPanic(w, r)
		m, ok := routes.Find(r)
		if name, of := strings.CutPrefix(r.URL.Path, ath.CallbackPath+"/"); of && f.Providers.Current().Get(name) != nil {
			m, ok = routes.Paths[ath.CallbackPath], true
		}
		if handle, of := strings.CutPrefix(r.URL.Path, ath.HealPath); of && handle != "" {
			m, ok = routes.Paths[ath.HealPath], true
		}
		on := f.origins.ground(r.Host)
		if !ok || r.URL.RawPath != "" || !on.answers(r.URL.Path) {
			f.serve(w, httpapi.DropBody(w, r), httpapi.LaneHandshake, f.Refuses(ath.Errorf(ath.NotFound, "There is nothing at this path.")))
			return
		}
		h, ok := m.Lookup(r.Method)
		if !ok {
			w.Header().Set("Allow", m.Allow())
			r = httpapi.DropBody(w, r)
			h = f.Refuses(ath.Errorf(ath.MethodNotAllowed, "This path does not take this method."))
		}
		switch {
		case r.Header.Get("Service-Worker") != "":
			h = f.Refuses(ath.Errorf(ath.InvalidRequest, "No script of a service worker is here."))
		case ok && on == handshake && isCallback(r.URL.Path):
			h = http.HandlerFunc(f.sendOn)
		case ok && r.URL.Path == ath.HealthPath: // without limits: asked by those who would restart us
			h.ServeHTTP(w, r)
			return
		}
		in := f.LaneOf(r, !f.Operators.IsZero())
		if ok && in != httpapi.LaneOperators && strings.HasPrefix(r.URL.Path, ath.AdminPath) {
			r = httpapi.DropBody(w, r) // h refuses, and needs nothing of it
		}
		f.serve(w, r, in, h)
	})
}

// routes are those of the handshake.
func (f *Flow) routes() httpapi.Routes {
	revoke := f.revoke
	if f.Operators.IsZero() {
		revoke = f.revokeOwn
	}
	return httpapi.Routes{
		Paths: map[string]httpapi.Methods{
			ath.HealthPath:        {http.MethodGet: http.HandlerFunc(httpapi.ServeHealth)},
			ath.DiscoveryPath:     {http.MethodGet: http.HandlerFunc(f.serveDiscovery)},
			ath.AppDiscoveryPath:  {http.MethodGet: http.HandlerFunc(f.serveAppDiscovery)},
			ath.RegisterPath:      {http.MethodPost: httpapi.JSON(f.Server, http.StatusCreated, audit.AgentRegistrationDenied, f.register)},
			ath.AuthorizePath:     {http.MethodPost: handleJSON(f, f.authorize)},
			ath.TokenPath:         {http.MethodPost: handleJSON(f, f.token)},
			ath.RevokePath:        {http.MethodPost: handleJSON(f, revoke)},
			ath.ConsentStartPath:  {http.MethodGet: f.servePage(f.start)},
			ath.ConsentDecidePath: {http.MethodPost: f.servePage(f.decide)},
			ath.ConsentDonePath:   {http.MethodGet: f.servePage(f.done)},
			ath.CallbackPath:      {http.MethodGet: f.servePage(f.callback)},
			ath.HealPath:          {http.MethodGet: f.servePage(f.openHealing), http.MethodPost: f.servePage(f.decideHealing)},
		},
		ByID: map[[2]string]httpapi.Methods{
			{ath.AgentsPath, ""}: {
				http.MethodGet:    httpapi.OptionalJSON(f.Server, f.showOwn),
				http.MethodDelete: httpapi.OptionalJSON(f.Server, f.removeOwn),
			},
		},
	}
}

func handleJSON[Req, Resp any](f *Flow, step func(context.Context, *httpapi.Call, *Req) (Resp, error)) http.Handler {
	return httpapi.JSON(f.Server, http.StatusOK, audit.AccessDenied, step)
}

// serve runs h unless that is too much now: then people get a page, and
// programs JSON.
func (f *Flow) serve(w http.ResponseWriter, r *http.Request, in httpapi.Lane, h http.Handler) {
	f.Serve(w, r, in, h, func(err error) http.Handler {
		if row, _ := ath.FindPath(r.URL.Path); row.Browser() {
			return f.servePage(func(context.Context, *httpapi.Call, http.ResponseWriter, *http.Request) error { return err })
		}
		return f.Refuses(err)
	})
}
