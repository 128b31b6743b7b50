package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// clientIDValue names the part of a path that is a client_id, for
// [http.Request.PathValue].
const clientIDValue = "client_id"

// Methods maps a route's methods to handlers. HEAD goes with GET.
type Methods map[string]http.Handler

// Lookup finds the handler of a method.
func (m Methods) Lookup(method string) (http.Handler, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h, ok := m[method]
	return h, ok
}

// Allow is the header of this name.
func (m Methods) Allow() string {
	names := slices.Sorted(maps.Keys(m))
	if _, ok := m[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	return strings.Join(names, ", ")
}

// Routes are paths and what they do. Paths are compared as they are written.
type Routes struct {
	Paths map[string]Methods
	// Agents are the paths with a client_id in them, by what stands before and
	// behind it.
	Agents map[[2]string]Methods
}

// IsZero reports whether there are none.
func (r Routes) IsZero() bool { return len(r.Paths)+len(r.Agents) == 0 }

// With returns these routes and others.
func (r Routes) With(others Routes) Routes {
	all := Routes{Paths: map[string]Methods{}, Agents: map[[2]string]Methods{}}
	for _, some := range []Routes{r, others} {
		maps.Copy(all.Paths, some.Paths)
		maps.Copy(all.Agents, some.Agents)
	}
	return all
}

// Find finds the route of a request: a path, or one with a client_id in it, as
// one segment of a client_id's form.
func (r Routes) Find(req *http.Request) (Methods, bool) {
	if m, ok := r.Paths[req.URL.Path]; ok {
		return m, true
	}
	for _, before := range []string{ath.AgentsPath, ath.AdminAgentsPath + "/"} {
		rest, ok := strings.CutPrefix(req.URL.Path, before)
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
		m, ok := r.Agents[[2]string{before, behind}]
		if ok {
			req.SetPathValue(clientIDValue, id)
		}
		return m, ok
	}
	return nil, false
}
