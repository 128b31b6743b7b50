package athflow

import (
	"context"
	"net/http"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
)

// clientIDValue names the part of a path that is a client_id, for
// [http.Request.PathValue].
const clientIDValue = "client_id"

// agentRoutes are the routes about one registration, by what stands before and
// behind its client_id.
func (f *Flow) agentRoutes() map[[2]string]methods {
	return map[[2]string]methods{
		{ath.AgentsPath, ""}: {
			http.MethodGet:    about(f, f.showOwn),
			http.MethodDelete: about(f, f.removeOwn),
		},
	}
}

// operatorAgentRoutes are those of them that are for operators.
func (f *Flow) operatorAgentRoutes() map[[2]string]methods {
	const admin = ath.AdminAgentsPath + "/"
	return map[[2]string]methods{
		{admin, ""}: {
			http.MethodGet:    about(f, byOperator(f, f.showAgent)),
			http.MethodDelete: about(f, byOperator(f, f.removeAgent)),
		},
		{admin, "/approve"}: {http.MethodPost: about(f, byOperator(f, f.approveAgent))},
		{admin, "/deny"}:    {http.MethodPost: about(f, byOperator(f, f.denyAgent))},
		{admin, "/suspend"}: {http.MethodPost: about(f, byOperator(f, f.suspendAgent))},
		{admin, "/resume"}:  {http.MethodPost: about(f, byOperator(f, f.resumeAgent))},
	}
}

// operatorRoutes are the other routes for operators.
func (f *Flow) operatorRoutes() map[string]methods {
	routes := map[string]methods{
		ath.AdminAgentsPath:             {http.MethodGet: about(f, byOperator(f, f.listAgents))},
		ath.AdminHostsPath:              {http.MethodGet: about(f, byOperator(f, f.listHosts))},
		ath.AdminHostsPath + "/suspend": {http.MethodPost: about(f, byOperator(f, f.suspendHost))},
		ath.AdminHostsPath + "/resume":  {http.MethodPost: about(f, byOperator(f, f.resumeHost))},
		ath.AdminProvidersPath:          {http.MethodGet: about(f, byOperator(f, f.listProviders))},
	}
	if f.Explain != nil {
		routes[ath.AdminExplainPath] = methods{http.MethodPost: about(f, byOperator(f, f.explain))}
	}
	return routes
}

// AdminHandler serves what operators do, and nothing else, for a listener that
// only they reach. No limit of [Limits] counts there: no flood on the other
// door keeps them from taking rights away.
func (f *Flow) AdminHandler() http.Handler {
	routes, agentRoutes := f.operatorRoutes(), f.operatorAgentRoutes()
	routes[ath.RevokePath] = methods{http.MethodPost: about(f, byOperator(f, f.revokeAny))}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer f.recoverPanic(w, r)
		m, ok := routes[r.URL.Path]
		if !ok {
			m, ok = agentRoute(agentRoutes, r)
		}
		h, known := m.lookup(r.Method)
		switch {
		case !ok || r.URL.RawPath != "":
			h = f.refuses(ath.Errorf(ath.NotFound, "There is nothing at this path."))
		case !known:
			w.Header().Set("Allow", m.allow())
			h = f.refuses(ath.Errorf(ath.MethodNotAllowed, "This path does not take this method."))
		}
		if f.isOperator(r.Header) {
			r = r.WithContext(context.WithValue(r.Context(), laneKey{}, operators))
		}
		h.ServeHTTP(w, r)
	})
}

func about[Req, Resp any](f *Flow, step func(context.Context, *call, *Req) (Resp, error)) http.Handler {
	return serveJSON(f, http.StatusOK, audit.AccessDenied, step)
}

// agentRoute finds the route of a path with a client_id in it, as it is
// written: one segment, of a client_id's form.
func agentRoute(routes map[[2]string]methods, r *http.Request) (methods, bool) {
	for _, before := range []string{ath.AgentsPath, ath.AdminAgentsPath + "/"} {
		rest, ok := strings.CutPrefix(r.URL.Path, before)
		if !ok {
			continue
		}
		id, behind := rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			id, behind = rest[:i], rest[i:]
		}
		if _, err := ath.ParseClientID(id); err != nil {
			return nil, false
		}
		m, ok := routes[[2]string{before, behind}]
		if ok {
			r.SetPathValue(clientIDValue, id)
		}
		return m, ok
	}
	return nil, false
}
