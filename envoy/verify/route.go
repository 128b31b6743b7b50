package verify

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// A target is a route together with one of the clusters that it leads to.
type target struct {
	where     string
	config    *routev3.RouteConfiguration
	host      *routev3.VirtualHost
	route     *routev3.Route
	part      *routev3.WeightedCluster_ClusterWeight // of a weighted cluster; else nil
	cluster   string                                 // "" if it is not fixed
	providers []string                               // to which it leads, by whatever sign
	runtime   bool                                   // or wherever athd's reply says
}

// targetsOf lists the targets of a route configuration, also those that lead
// nowhere, but for routes that no request ever takes.
func (m *manager) targetsOf(c *routev3.RouteConfiguration) []*target {
	var out []*target
	for _, h := range c.GetVirtualHosts() {
		for i, r := range h.GetRoutes() {
			if slices.ContainsFunc(h.GetRoutes()[:i], func(first *routev3.Route) bool { return Shadows(first.GetMatch(), r.GetMatch()) }) {
				continue
			}
			w := target{config: c, host: h, route: r, cluster: r.GetRoute().GetCluster()}
			w.where = m.where + " / virtual host " + envoy.Quote(h.GetName()) + " / route " + routeName(r)
			parts := r.GetRoute().GetWeightedClusters().GetClusters()
			if len(parts) == 0 {
				out = append(out, m.lead(&w))
			}
			for _, part := range parts {
				one := w
				one.part, one.cluster = part, part.GetName()
				one.where += " / weighted cluster " + envoy.Quote(cmp.Or(part.GetName(), part.GetClusterHeader()))
				out = append(out, m.lead(&one))
			}
		}
	}
	return out
}

// routeName is the name of a route, or what it matches.
func routeName(r *routev3.Route) string {
	if r.GetName() != "" {
		return envoy.Quote(r.GetName())
	}
	match := r.GetMatch()
	return "of " + envoy.Quote(cmp.Or(match.GetPrefix(), match.GetPathSeparatedPrefix(), match.GetPath(),
		match.GetSafeRegex().GetRegex(), "?"))
}

// forwards reports whether requests on this target go to a cluster at all.
func (w *target) forwards() bool {
	switch w.route.GetAction().(type) {
	case *routev3.Route_Redirect, *routev3.Route_DirectResponse:
		return false
	}
	return true
}

// literal is the fixed beginning of the paths that a route matches.
func (w *target) literal() string {
	match := w.route.GetMatch()
	return cmp.Or(match.GetPrefix(), match.GetPathSeparatedPrefix(), match.GetPath())
}

func (w *target) mounted() bool { return strings.HasPrefix(w.literal(), ath.ProxyPath) }

// mountOf returns the provider under whose mount the route matches, or "".
func (w *target) mountOf() string {
	rest, _ := strings.CutPrefix(w.literal(), ath.ProxyPath)
	if !w.mounted() {
		return ""
	}
	id, _, _ := strings.Cut(rest, "/")
	return id
}

// redacted is what Envoy's dump says in place of the values that a route tells
// ext_authz. That there is one can be seen, not which.
const redacted = "[redacted]"

// told returns a context extension and whether it can be read.
func (w *target) told(name string) (value string, there, readable bool) {
	value, there = w.extensions()[name]
	return value, there, value != redacted
}

// lead finds the providers to which a target leads: by what its check tells,
// else by its path, by what its guard wants, by its cluster, or by its host.
func (m *manager) lead(w *target) *target {
	if w.runtime = m.isRuntime(w); w.runtime || !w.forwards() {
		return w
	}
	if id, _, readable := w.told(envoy.ExtProvider); id != "" && readable {
		w.providers = []string{id}
	} else if id := w.mountOf(); id != "" {
		w.providers = []string{m.idOf(id)}
	} else if id := w.guardedFor(); id != "" {
		w.providers = []string{id}
	} else if ids := m.providersAt(w.cluster); len(ids) > 0 {
		w.providers = ids
	} else {
		w.providers = m.appsOf(w)
	}
	return w
}

// guardedFor returns the provider that the most specific guard wants, or "".
func (w *target) guardedFor() string {
	for _, level := range w.levels() {
		for _, name := range slices.Sorted(maps.Keys(level)) {
			var per guardv3.RBACPerRoute
			if open(unwrap(level[name]).config, &per) {
				return assures(per.GetRbac().GetRules()).provider
			}
		}
	}
	return ""
}

// appsOf returns the apps that have the route's host and path.
func (m *manager) appsOf(w *target) []string {
	var out []string
	for _, p := range m.expect.Providers.Apps() {
		if m.expect.ByHost && len(p.App.Hosts) == 0 {
			continue // any host is every service of the mesh
		}
		if m.isCompanion(w) || strings.TrimSuffix(w.literal(), "/") != p.App.PathPrefix {
			continue
		}
		for _, d := range envoy.Domains(p.App) {
			if slices.ContainsFunc(w.host.GetDomains(), func(domain string) bool { return strings.EqualFold(hostOnly(domain), d) }) {
				out = append(out, p.ID)
				break
			}
		}
	}
	return out
}

// hostOnly takes the port off a domain.
func hostOnly(domain string) string {
	if i := strings.LastIndexByte(domain, ':'); i > 0 && !strings.HasSuffix(domain, "]") {
		return domain[:i]
	}
	return domain
}

// levels are the settings per filter, the most specific first.
func (w *target) levels() []map[string]*anypb.Any {
	return []map[string]*anypb.Any{
		w.part.GetTypedPerFilterConfig(), w.route.GetTypedPerFilterConfig(),
		w.host.GetTypedPerFilterConfig(), w.config.GetTypedPerFilterConfig(),
	}
}

// A setting is what one level says to one filter.
type setting struct {
	config   *anypb.Any
	disabled bool
	optional bool
}

// settings returns what the levels say to a filter, the most specific first.
func (w *target) settings(filter string) []setting {
	var out []setting
	for _, level := range w.levels() {
		if a := level[filter]; a != nil {
			out = append(out, unwrap(a))
		}
	}
	return out
}

// unwrap takes a setting out of Envoy's FilterConfig, if it is in one.
func unwrap(a *anypb.Any) setting {
	var wrapped routev3.FilterConfig
	if open(a, &wrapped) {
		return setting{wrapped.GetConfig(), wrapped.GetDisabled(), wrapped.GetIsOptional()}
	}
	return setting{config: a}
}

// filters returns the names of the filters that a target has settings for.
func (w *target) filters() []string {
	names := map[string]bool{}
	for _, level := range w.levels() {
		for name := range level {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// extensions are what athd is told on this target. Unlike other settings those
// of all levels are joined, and the most specific wins where they differ; but
// where that takes the check away, nothing is told. What ext_proc tells is that of
// the most specific level alone.
func (w *target) extensions() map[string]string {
	out := w.streamMetadata()
	for _, level := range w.levels() {
		for _, name := range slices.Sorted(maps.Keys(level)) {
			var per extauthzv3.ExtAuthzPerRoute
			if !open(unwrap(level[name]).config, &per) {
				continue
			}
			if per.GetDisabled() {
				return out
			}
			for key, value := range per.GetCheckSettings().GetContextExtensions() {
				if _, there := out[key]; !there {
					out[key] = value
				}
			}
		}
	}
	return out
}

// idOf returns the id of the provider that goes by a name, or the name.
func (v *verifier) idOf(name string) string {
	if p := v.expect.Providers.Get(name); p != nil {
		return p.ID
	}
	return name
}

// provider returns the provider that a target leads to if it is one that athd
// knows.
func (m *manager) provider(w *target) *provider.Provider {
	if len(w.providers) == 0 {
		return nil
	}
	return m.expect.Providers.Get(w.providers[0])
}
