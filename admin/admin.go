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
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// Config configures an [API].
type Config struct {
	*httpapi.Server                     // required
	Providers       *provider.Providers // required
	Attest          *attest.Verifier    // required: which agents are pinned
	Policy          approval.Policy     // says how long an approval holds
	Issuers         *issuer.Keeper      // of providers without endpoints; nil: there are none

	// How Envoy and OAuth servers were configured, as operators are told it.
	Destination         string   // how Envoy says where a request goes
	ConsentHost         ath.Host // that the consent pages have for themselves; the zero Host: none
	CallbackPerProvider bool

	// Explain judges a call that nobody makes: [Explainer] of a decider. nil:
	// nobody can ask for that.
	Explain func(context.Context, authz.Question) (*api.Explanation, error)

	// Refresh gets a new token for a connection: [vault.Vault.Ask]. nil: nobody can
	// ask for that.
	Refresh func(context.Context, *provider.Provider, tokenstore.ConnectionRef) vault.Report
}

// An API is the operator's. It keeps nothing: all state is in the store.
type API struct {
	Config
	replica string
	since   time.Time
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
	return &API{c, replica, c.Now()}, nil
}

// Routes are what operators do below /ath/admin.
func (s *API) Routes() httpapi.Routes {
	const agents, connections = ath.AdminAgentsPath + "/", ath.AdminConnectionsPath + "/"
	routes := httpapi.Routes{
		Paths: map[string]httpapi.Methods{
			ath.AdminAgentsPath:                {http.MethodGet: operate(s, s.listAgents)},
			ath.AdminHostsPath:                 {http.MethodGet: operate(s, s.listHosts)},
			ath.AdminHostsPath + "/suspend":    {http.MethodPost: operate(s, s.suspendHost)},
			ath.AdminHostsPath + "/resume":     {http.MethodPost: operate(s, s.resumeHost)},
			ath.AdminProvidersPath:             {http.MethodGet: operate(s, s.listProviders)},
			ath.AdminProvidersPath + "/accept": {http.MethodPost: operate(s, s.acceptEndpoints)},
			ath.AdminRefusalsPath:              {http.MethodGet: operate(s, s.listRefusals)},
			ath.AdminConnectionsPath:           {http.MethodGet: operate(s, s.listConnections)},
			ath.AdminUserEndPath:               {http.MethodPost: operate(s, s.endUser)},
		},
		ByID: map[[2]string]httpapi.Methods{
			{agents, ""}: {
				http.MethodGet:    operate(s, s.showAgent),
				http.MethodDelete: operate(s, s.removeAgent),
			},
			{agents, "/approve"}: {http.MethodPost: operate(s, s.approveAgent)},
			{agents, "/deny"}:    {http.MethodPost: operate(s, s.denyAgent)},
			{agents, "/suspend"}: {http.MethodPost: operate(s, s.suspendAgent)},
			{agents, "/resume"}:  {http.MethodPost: operate(s, s.resumeAgent)},

			{connections, ""}:     {http.MethodGet: operate(s, s.showConnection)},
			{connections, "/end"}: {http.MethodPost: operate(s, s.endConnection)},
		},
	}
	if s.Refresh != nil {
		routes.ByID[[2]string{connections, "/refresh"}] = httpapi.Methods{http.MethodPost: operate(s, s.refreshConnection)}
	}
	if s.Explain != nil {
		routes.Paths[ath.AdminExplainPath] = httpapi.Methods{http.MethodPost: operate(s, s.explain)}
	}
	return routes
}

// Handler serves what operators do, revocations of theirs too, and nothing
// else, for a listener that only they reach. No limit of [httpapi.Limits]
// counts there: no flood on the other listener keeps them from taking rights
// away.
func (s *API) Handler() http.Handler {
	routes := s.Routes()
	routes.Paths[ath.RevokePath] = httpapi.Methods{http.MethodPost: httpapi.JSON(s.Server, http.StatusOK, audit.AccessDenied, byOperator(s, s.revoke))}
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

// operate makes a handler of a step for operators.
func operate[Req, Resp any](s *API, step func(context.Context, *httpapi.Call, *Req) (Resp, error)) http.Handler {
	return httpapi.OptionalJSON(s.Server, byOperator(s, step))
}

// revoke ends any token (V-2).
func (s *API) revoke(ctx context.Context, c *httpapi.Call, req *api.RevokeRequest) (api.RevokeReply, error) {
	return s.Registrations.Revoke(ctx, c, nil, req)
}
