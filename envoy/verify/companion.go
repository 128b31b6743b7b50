package verify

import (
	"maps"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// companionsOf finds the clusters of athd's HTTP listener: by the name that
// the generated configuration gives, else by the paths that only it serves. A
// cluster to which an app's own route leads is none, whatever else leads there.
func (m *manager) companionsOf(configs []*routev3.RouteConfiguration) map[string]bool {
	if m.clusters[envoy.CompanionCluster] != nil {
		return map[string]bool{envoy.CompanionCluster: true}
	}
	out, apps := map[string]bool{}, map[string]bool{}
	for _, c := range configs {
		for _, h := range c.GetVirtualHosts() {
			for _, r := range h.GetRoutes() {
				w := target{route: r, host: h}
				name := r.GetRoute().GetCluster()
				if name != "" && w.handshake() && len(m.providersAt(name)) == 0 {
					out[name] = true
				}
				if w.literal() != "" && len(m.appsOf(&w)) > 0 {
					apps[name] = true
				}
			}
		}
	}
	maps.DeleteFunc(out, func(name string, _ bool) bool { return apps[name] })
	return out
}

// handshake reports whether a route is for the paths that athd answers itself.
func (w *target) handshake() bool {
	begin := w.literal()
	if begin == "" {
		begin = strings.ReplaceAll(strings.TrimPrefix(w.route.GetMatch().GetSafeRegex().GetRegex(), "^"), `\.`, ".")
	}
	return !strings.HasPrefix(begin+"/", ath.ProxyPath) &&
		(strings.HasPrefix(begin, ath.PathRoot+"/") || strings.HasPrefix(begin, ath.DiscoveryRoot))
}

func (m *manager) isCompanion(w *target) bool { return m.companions[w.cluster] }

// verifyCompanion wants the handshake's paths, which are not checked, to lead to
// athd's companion, which defends itself, and nowhere else. Other routes that
// lead unchecked to what is no provider's are the operator's own business: the
// website beside the API.
func (m *manager) verifyCompanion(c *chain) {
	if m.expect.ByHost {
		m.verifyCompanionPaths(c) // a mesh has other services
		return
	}
	if len(m.companions) > 1 {
		m.fault(m.where, "the handshake's paths lead to several clusters", "let them lead to athd's HTTP listener only")
	}
	for _, w := range m.targets {
		if w.forwards() && m.isCompanion(w) && w.handshake() && !c.wholeBodies(w) {
			m.warning(w.where, "bodies reach athd as slowly as they are sent: whoever trickles them keeps others from the handshake",
				"put a buffer filter into the chain, and max_request_bytes: 65536 for it on this route")
		}
		if w.forwards() && !m.isCompanion(w) && w.handshake() && c.unchecked(w) {
			where := "a cluster that the request or a plugin chooses"
			if w.cluster != "" {
				where = "the cluster " + envoy.Quote(w.cluster)
			}
			m.fault(w.where, "the handshake's paths lead to "+where+", which is not athd's companion: agents' secrets and users' codes go there",
				"let them lead to athd's HTTP listener")
		}
	}
}

// wholeBodies reports whether a filter reads the body of a request on this target
// before it goes on.
func (c *chain) wholeBodies(w *target) bool {
	for _, f := range c.filters {
		if f.kind != httpFilters+"buffer.v3.Buffer" || !f.runs(w) {
			continue
		}
		var per bufferv3.BufferPerRoute
		s := w.settings(f.name)
		if len(s) == 0 || s[0].config == nil || !open(s[0].config, &per) || !per.GetDisabled() {
			return true
		}
	}
	return false
}

// verifyCompanionPaths wants none of the paths that athd lets pass, since it
// answers them itself, to lead to a provider: there is no token in such a
// request, and nobody has judged it.
func (m *manager) verifyCompanionPaths(c *chain) {
	// An address need not show that a cluster is a provider's, nor each route to
	// it: a Service has those of its pods.
	behind := map[string][]string{}
	for _, w := range m.targets {
		if ids := m.apisOf(w); len(ids) > 0 && w.cluster != "" && !m.isCompanion(w) {
			behind[w.cluster] = ids
		}
	}
	said := map[*routev3.Route]bool{}
	all := samples(envoy.CompanionPaths(func(ath.Path) bool { return true }))
	if m.expect.CallbackPerProvider {
		all = append(all, ath.CallbackPath+"/…")
	}
	for _, path := range all {
		first := map[*routev3.VirtualHost]*routev3.Route{} // that takes the path whatever else the request has
		for _, w := range m.targets {
			if r := first[w.host]; r != nil && r != w.route || !w.takes(path) {
				continue
			}
			if onlyByPath(w.route.GetMatch()) {
				first[w.host] = w.route
			}
			ids := m.apisOf(w)
			if len(ids) == 0 {
				ids = behind[w.cluster]
			}
			if len(ids) == 0 || said[w.route] || !c.opensWithoutToken(w) {
				continue
			}
			said[w.route] = true
			m.fault(w.where, "athd lets "+envoy.Quote(path)+" pass without a token, and this route leads it to a provider ("+strings.Join(ids, ", ")+")",
				"lead the paths that athd answers to athd, or answer them with 404")
		}
	}
}

// apisOf returns the providers of a target. One that matches by a pattern may be
// taken for an app's though it is another service's: it counts if it takes any
// path.
func (m *manager) apisOf(w *target) []string {
	if w.literal() == "" && !w.takes("/…") && len(m.providersAt(w.cluster)) == 0 {
		return nil
	}
	return w.providers
}

// takes reports whether the path of a request is one that the route matches.
func (w *target) takes(path string) bool {
	match := w.route.GetMatch()
	fold := func(s string) string {
		if match.GetCaseSensitive() != nil && !match.GetCaseSensitive().GetValue() {
			return strings.ToLower(s)
		}
		return s
	}
	switch p := match.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return strings.HasPrefix(fold(path), fold(p.Prefix))
	case *routev3.RouteMatch_Path:
		return fold(path) == fold(p.Path)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		rest, below := strings.CutPrefix(fold(path), fold(p.PathSeparatedPrefix))
		return below && (rest == "" || rest[0] == '/')
	case *routev3.RouteMatch_SafeRegex:
		whole, err := regexp.Compile("^(?:" + p.SafeRegex.GetRegex() + ")$")
		return err == nil && whole.MatchString(path)
	}
	return false
}

// onlyByPath reports whether a route looks at nothing but the path.
func onlyByPath(match *routev3.RouteMatch) bool {
	return proto.Equal(match, &routev3.RouteMatch{PathSpecifier: match.GetPathSpecifier(), CaseSensitive: match.GetCaseSensitive()})
}

// opensWithoutToken reports whether what athd answers to its own paths opens a
// target: athd is asked and not told a provider, and no guard wants one.
func (c *chain) opensWithoutToken(w *target) bool {
	if id, _, _ := w.told(envoy.ExtProvider); id != "" || c.unchecked(w) {
		return false
	}
	at, _ := c.checkOf(w)
	var guards []int
	for i, f := range c.filters {
		if i > at && open(f.config, &guardv3.RBAC{}) {
			guards = append(guards, i)
		}
	}
	got := c.assured(guards, w)
	return !got.nothing && got.provider == ""
}

// unchecked reports whether requests on a target are forwarded without a check.
func (c *chain) unchecked(w *target) bool {
	if len(c.checks) == 0 {
		return true
	}
	at, _ := c.checkOf(w)
	f := c.filters[at]
	var check extauthzv3.ExtAuthzPerRoute
	var judge extprocv3.ExtProcPerRoute
	s := w.settings(f.name)
	return !f.runs(w) || len(s) > 0 && (open(s[0].config, &check) && check.GetDisabled() || open(s[0].config, &judge) && judge.GetDisabled())
}

// samples has one path of each row; the dots stand for anything.
func samples(rows []ath.Path) []string {
	var out []string
	for _, p := range rows {
		out = append(out, p.Sample())
	}
	return out
}
