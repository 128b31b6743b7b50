package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// The parts of a path that are ids, for [http.Request.PathValue].
const (
	clientIDValue     = "client_id"
	connectionIDValue = "connection_id"
	providerIDValue   = "provider_id"
)

// idsInPaths says which paths have an id in them, as one segment behind these.
var idsInPaths = []struct {
	before, value string
	is            func(string) bool
}{
	{ath.AgentsPath, clientIDValue, isClientID},
	{ath.AdminAgentsPath + "/", clientIDValue, isClientID},
	{ath.AdminConnectionsPath + "/", connectionIDValue, isConnectionID},
	{ath.AdminProvidersPath + "/", providerIDValue, isProviderID},
}

func isClientID(s string) bool { _, err := ath.ParseClientID(s); return err == nil }

// isProviderID takes whatever a provider or app may go by: whether there is one is
// the step's to say.
func isProviderID(s string) bool { return s != "" && len(s) <= 127 && ath.IsVisible(s) }

func isConnectionID(s string) bool { _, err := ath.ParseConnectionID(s); return err == nil }

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
	// ByID are the paths with an id in them, by what stands before and behind it.
	ByID map[[2]string]Methods
}

// At returns the methods of a path, in which an id is written as {client_id} or
// {connection_id}, for more to be added.
func (r Routes) At(path string) Methods {
	for _, in := range idsInPaths {
		if rest, ok := strings.CutPrefix(path, in.before+"{"+in.value+"}"); ok {
			return methodsAt(r.ByID, [2]string{in.before, rest})
		}
	}
	return methodsAt(r.Paths, path)
}

func methodsAt[K comparable](of map[K]Methods, at K) Methods {
	if of[at] == nil {
		of[at] = Methods{}
	}
	return of[at]
}

// IsZero reports whether there are none.
func (r Routes) IsZero() bool { return len(r.Paths)+len(r.ByID) == 0 }

// With returns these routes and others.
func (r Routes) With(others Routes) Routes {
	all := Routes{Paths: map[string]Methods{}, ByID: map[[2]string]Methods{}}
	for _, some := range []Routes{r, others} {
		maps.Copy(all.Paths, some.Paths)
		maps.Copy(all.ByID, some.ByID)
	}
	return all
}

// Find finds the route of a request: a path, or one with an id in it, as one
// segment of the id's form.
func (r Routes) Find(req *http.Request) (Methods, bool) {
	if m, ok := r.Paths[req.URL.Path]; ok {
		return m, true
	}
	for _, in := range idsInPaths {
		rest, ok := strings.CutPrefix(req.URL.Path, in.before)
		if !ok {
			continue
		}
		id, behind := rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			id, behind = rest[:i], rest[i:]
		}
		if !in.is(id) {
			return nil, false
		}
		m, ok := r.ByID[[2]string{in.before, behind}]
		if ok {
			req.SetPathValue(in.value, id)
		}
		return m, ok
	}
	return nil, false
}
