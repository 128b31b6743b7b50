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
	const admin = adminAgentsPath + "/"
	return map[[2]string]methods{
		{agentsPath, ""}: {
			http.MethodGet:    about(f, f.showOwn),
			http.MethodDelete: about(f, f.removeOwn),
		},
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

func about[Req, Resp any](f *Flow, step func(context.Context, *call, *Req) (Resp, error)) http.Handler {
	return serveJSON(f, http.StatusOK, audit.AccessDenied, step)
}

// agentRoute finds the route of a path with a client_id in it, as it is
// written: one segment, of a client_id's form.
func agentRoute(routes map[[2]string]methods, r *http.Request) (methods, bool) {
	for _, before := range []string{agentsPath, adminAgentsPath + "/"} {
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
