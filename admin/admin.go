package admin

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
	"github.com/athd/athd/watch"
)

// Config configures an [API].
type Config struct {
	*httpapi.Server                     // required
	Providers       *provider.Providers // required
	Attest          *attest.Verifier    // required: which agents are pinned
	Policy          approval.Policy     // says how long an approval holds
	Issuers         *issuer.Keeper      // of providers without endpoints; nil: there are none

	// Catalog has the providers that are added while athd runs, which are read by
	// ProviderOptions; nil: none can be added. RuntimeRoute says that Envoy has a
	// route for them, and ProvidersFile is where those of the file are.
	Catalog         *catalog.Catalog
	ProviderOptions provider.Options
	RuntimeRoute    bool
	ProvidersFile   string

	// How Envoy and OAuth servers were configured, as operators are told it.
	Destination         string   // how Envoy says where a request goes
	ConsentHost         ath.Host // that the consent pages have for themselves; the zero Host: none
	CallbackPerProvider bool
	Envoy               *api.EnvoyAsks // by what Envoy asks; nil: not told

	// Since is from when on this process keeps what was refused lately; the zero
	// time: now.
	Since time.Time

	// Explain judges a call that nobody makes: [Explainer] of a decider. nil:
	// nobody can ask for that.
	Explain func(context.Context, authz.Question) (*api.Explanation, error)

	// Streams lists the exchanges that this replica watches: [watch.Registry.List].
	// nil: it watches none.
	Streams func(agent string, most int) ([]watch.Seen, int)

	// Refresh gets a new token for a connection: [vault.Vault.Ask]. nil: nobody can
	// ask for that.
	Refresh func(context.Context, *provider.Provider, tokenstore.ConnectionRef) vault.Report
}

// An API is the operator's. It keeps nothing: all state is in the store.
type API struct {
	Config
	replica string
	routes  httpapi.Routes // below /ath/admin
	own     httpapi.Routes // on a listener of operators alone
}

// New checks the configuration once.
func New(c Config) (*API, error) {
	switch {
	case c.Server == nil:
		return nil, errors.New("admin: Server is required")
	case c.Providers == nil:
		return nil, errors.New("admin: Providers is required")
	case c.Attest == nil:
		return nil, errors.New("admin: Attest is required")
	}
	if err := c.Policy.Check(); err != nil {
		return nil, err
	}
	replica, err := os.Hostname()
	if err != nil {
		replica = "unknown"
	}
	if c.Since.IsZero() {
		c.Since = c.Now()
	}
	s := &API{Config: c, replica: replica}
	if s.routes, err = s.routesOf(s.doors()); err != nil {
		return nil, err
	}
	s.own, err = s.routesOf(s.Doors())
	return s, err
}

// Routes are what operators do below /ath/admin.
func (s *API) Routes() httpapi.Routes { return s.routes }

// Handler serves what operators do, revocations of theirs too, and nothing
// else, for a listener that only they reach. No limit of [httpapi.Limits]
// counts there: no flood on the other listener keeps them from taking rights
// away.
func (s *API) Handler() http.Handler {
	routes := s.own
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.RecoverPanic(w, r)
		m, ok := routes.Find(r)
		h, known := m.Lookup(r.Method)
		switch {
		case !ok || r.URL.RawPath != "":
			h = s.Refuses(ath.Errorf(ath.NotFound, "There is nothing at this path."))
		case !known:
			w.Header().Set("Allow", m.Allow())
			h = s.Refuses(ath.Errorf(ath.MethodNotAllowed, "This path does not take this method."))
		}
		if _, ok := s.Operator(r.Header); ok {
			r = httpapi.InLane(r, httpapi.LaneOperators)
		}
		h.ServeHTTP(w, r)
	})
}

// revoke ends any token (V-2).
func (s *API) revoke(ctx context.Context, c *httpapi.Call, req *api.RevokeRequest) (api.RevokeReply, error) {
	return s.Registrations.Revoke(ctx, c, nil, req)
}
