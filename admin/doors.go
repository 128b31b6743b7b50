package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
)

// A Door is one thing that operators do: a method at a path, and the least role
// that may. An id in the path is written as {client_id} or {connection_id}.
type Door struct {
	Method, Path string
	Least        api.Role
	handler      http.Handler
}

// doors is the table of what operators do below /ath/admin. Whatever is not in it
// is not served, and what is there without a role is not built.
func (s *API) doors() []Door {
	const agent, connection, provider = ath.AdminAgentsPath + "/{client_id}", ath.AdminConnectionsPath + "/{connection_id}", ath.AdminProvidersPath + "/{provider_id}"
	all := []Door{
		{http.MethodGet, ath.AdminAgentsPath, api.RoleViewer, operate(s, s.listAgents)},
		{http.MethodGet, agent, api.RoleViewer, operate(s, s.showAgent)},
		{http.MethodDelete, agent, api.RoleApprover, operate(s, s.removeAgent)},
		{http.MethodPost, agent + "/approve", api.RoleApprover, operate(s, s.approveAgent)},
		{http.MethodPost, agent + "/deny", api.RoleApprover, operate(s, s.denyAgent)},
		{http.MethodPost, agent + "/suspend", api.RoleApprover, operate(s, s.suspendAgent)},
		{http.MethodPost, agent + "/resume", api.RoleApprover, operate(s, s.resumeAgent)},

		{http.MethodGet, ath.AdminHostsPath, api.RoleViewer, operate(s, s.listHosts)},
		{http.MethodPost, ath.AdminHostsPath + "/suspend", api.RoleApprover, operate(s, s.suspendHost)},
		{http.MethodPost, ath.AdminHostsPath + "/resume", api.RoleApprover, operate(s, s.resumeHost)},

		{http.MethodGet, ath.AdminConnectionsPath, api.RoleViewer, operate(s, s.listConnections)},
		{http.MethodGet, connection, api.RoleViewer, operate(s, s.showConnection)},
		{http.MethodPost, connection + "/end", api.RoleApprover, operate(s, s.endConnection)},
		{http.MethodPost, ath.AdminUserEndPath, api.RoleApprover, operate(s, s.endUser)},

		{http.MethodGet, ath.AdminWhoAmIPath, api.RoleViewer, operate(s, s.whoAmI)},
		{http.MethodGet, ath.AdminRefusalsPath, api.RoleViewer, operate(s, s.listRefusals)},
		{http.MethodGet, ath.AdminStreamsPath, api.RoleViewer, operate(s, s.listStreams)},

		{http.MethodGet, ath.AdminProvidersPath, api.RoleViewer, operate(s, s.listProviders)},
		{http.MethodGet, provider, api.RoleViewer, operate(s, s.showProvider)},
		{http.MethodPost, ath.AdminProvidersPath + "/" + acceptWord, api.RoleAdmin, operate(s, s.acceptEndpoints)},
	}
	if s.Catalog != nil {
		all = append(all,
			Door{http.MethodPost, ath.AdminProvidersPath, api.RoleAdmin, httpapi.Document(s.Server, http.StatusCreated, byOperator(s.addProvider))},
			Door{http.MethodPut, provider, api.RoleAdmin, httpapi.Document(s.Server, http.StatusOK, byOperator(s.changeProvider))},
			Door{http.MethodDelete, provider, api.RoleAdmin, httpapi.Accepted(s.Server, byOperator(s.removeProvider))},
		)
	}
	if s.Refresh != nil {
		all = append(all, Door{http.MethodPost, connection + "/refresh", api.RoleApprover, operate(s, s.refreshConnection)})
	}
	if s.Explain != nil {
		all = append(all, Door{http.MethodPost, ath.AdminExplainPath, api.RoleViewer, operate(s, s.explain)})
	}
	return all
}

// Doors are all that operators do here, revocations of theirs too, ordered by
// path.
func (s *API) Doors() []Door {
	all := append(s.doors(), s.revokeDoor())
	slices.SortFunc(all, func(a, b Door) int {
		return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
	})
	return all
}

// revokeDoor is how operators end tokens on a listener of their own (V-2). Beside
// the handshake agents use the same path.
func (s *API) revokeDoor() Door {
	return Door{http.MethodPost, ath.RevokePath, httpapi.RevokeRole, httpapi.JSON(s.Server, http.StatusOK, audit.AccessDenied, byOperator(s.revoke))}
}

// routesOf makes routes of doors, each for operators of its role and above.
func (s *API) routesOf(doors []Door) (httpapi.Routes, error) {
	routes := httpapi.Routes{Paths: map[string]httpapi.Methods{}, ByID: map[[2]string]httpapi.Methods{}}
	for _, d := range doors {
		if !slices.Contains(api.Roles(), d.Least) {
			return httpapi.Routes{}, fmt.Errorf("admin: nobody said which role may %s %s", d.Method, d.Path)
		}
		at := routes.At(d.Path)
		if at[d.Method] != nil {
			return httpapi.Routes{}, fmt.Errorf("admin: %s %s is there twice", d.Method, d.Path)
		}
		at[d.Method] = s.ForOperators(d.Least, d.handler)
	}
	return routes, nil
}

// operate makes a handler of a step for operators.
func operate[Req, Resp any](s *API, step func(context.Context, *httpapi.Call, *Req) (Resp, error)) http.Handler {
	return httpapi.OptionalJSON(s.Server, byOperator(step))
}

// noParameters refuses a query where there is nothing to choose.
func noParameters(c *httpapi.Call) error {
	if len(c.Query) > 0 {
		return ath.Errorf(ath.InvalidRequest, "This path takes no parameter.")
	}
	return nil
}

// byOperator lets a step run for operators only (O-1), whatever leads to it.
func byOperator[Req, Resp any](step func(context.Context, *httpapi.Call, *Req) (Resp, error)) func(context.Context, *httpapi.Call, *Req) (Resp, error) {
	return func(ctx context.Context, c *httpapi.Call, req *Req) (Resp, error) {
		if c.Operator.Role == "" {
			var none Resp
			return none, ath.Errorf(ath.Unauthorized, "An admin token is required.")
		}
		resp, err := step(ctx, c, req)
		return resp, storeFault(err)
	}
}
