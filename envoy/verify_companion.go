package envoy

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
)

// companionsOf finds the clusters of athd's HTTP listener: by the name that
// the generated configuration gives, else by the paths that only it serves.
func (v *verifier) companionsOf(configs []*routev3.RouteConfiguration) map[string]bool {
	if v.clusters[companionCluster] != nil {
		return map[string]bool{companionCluster: true}
	}
	out := map[string]bool{}
	for _, c := range configs {
		for _, h := range c.GetVirtualHosts() {
			for _, r := range h.GetRoutes() {
				w := lane{route: r}
				name := r.GetRoute().GetCluster()
				if name != "" && w.handshake() && len(v.providersAt(name)) == 0 {
					out[name] = true
				}
			}
		}
	}
	return out
}

// handshake reports whether a route is for the paths that athd answers itself.
func (w *lane) handshake() bool {
	begin := w.literal()
	if begin == "" {
		begin = strings.ReplaceAll(strings.TrimPrefix(w.route.GetMatch().GetSafeRegex().GetRegex(), "^"), `\.`, ".")
	}
	return !strings.HasPrefix(begin, proxyPrefix) &&
		(strings.HasPrefix(begin, "/ath/") || strings.HasPrefix(begin, "/.well-known/ath"))
}

func (m *manager) isCompanion(w *lane) bool { return m.companions[w.cluster] }

// companionHolds wants the handshake's paths, which are not checked, to lead to
// athd's companion, which defends itself, and nowhere else. Other routes that
// lead unchecked to what is no provider's are the operator's own business: the
// website beside the API.
func (m *manager) companionHolds(c *chain) {
	if m.expect.ByHost {
		return // a mesh has other services
	}
	if len(m.companions) > 1 {
		m.fault(m.where, "the handshake's paths lead to several clusters", "let them lead to athd's HTTP listener only")
	}
	for _, w := range m.lanes {
		if w.forwards() && !m.isCompanion(w) && w.handshake() && c.unchecked(w) {
			where := "a cluster that the request or a plugin chooses"
			if w.cluster != "" {
				where = "the cluster " + quote(w.cluster)
			}
			m.fault(w.where, "the handshake's paths lead to "+where+", which is not athd's companion: agents' secrets and users' codes go there",
				"let them lead to athd's HTTP listener")
		}
	}
}

// unchecked reports whether requests on a lane are forwarded without a check.
func (c *chain) unchecked(w *lane) bool {
	if len(c.checks) == 0 {
		return true
	}
	at, _ := c.checkOf(w)
	f := c.filters[at]
	var per extauthzv3.ExtAuthzPerRoute
	s := w.settings(f.name)
	return !f.runs(w) || len(s) > 0 && s[0].config != nil && open(s[0].config, &per) && per.GetDisabled()
}
