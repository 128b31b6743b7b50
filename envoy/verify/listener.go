package verify

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
)

const managerFilter = "envoy.filters.network.http_connection_manager"

// A manager is one HTTP connection manager with its routes.
type manager struct {
	*verifier
	where string
	*hcmv3.HttpConnectionManager
	targets    []*target
	companions map[string]bool // clusters of athd's HTTP listener
}

// verifyListeners verifies whatever leads to a provider, and that each provider
// can be reached.
func (v *verifier) verifyListeners() {
	reached := map[string]bool{}
	for _, l := range v.listeners {
		chains := l.GetFilterChains()
		if c := l.GetDefaultFilterChain(); c != nil {
			chains = append(slices.Clone(chains), c)
		}
		where := "listener " + envoy.Quote(l.GetName())
		for _, c := range chains {
			v.verifyFilterChain(where+chainName(c, len(chains)), c, reached)
		}
		if a := l.GetApiListener().GetApiListener(); a != nil {
			v.verifyManager(where, a, reached)
		}
	}
	for _, p := range v.expect.Providers.All() {
		if !reached[p.ID] {
			v.warning("provider "+envoy.Quote(p.ID), "no route leads to it",
				"generate Envoy's configuration again, or take the provider out of athd's")
		}
	}
	v.verifyRuntimeThere()
}

// chainName tells filter chains apart where there are several.
func chainName(c *listenerv3.FilterChain, of int) string {
	switch {
	case c.GetName() != "":
		return " / filter chain " + envoy.Quote(c.GetName())
	case of > 1 && len(c.GetFilterChainMatch().GetServerNames()) > 0:
		return " / filter chain for " + envoy.Quote(c.GetFilterChainMatch().GetServerNames()[0])
	}
	return ""
}

func (v *verifier) verifyFilterChain(where string, c *listenerv3.FilterChain, reached map[string]bool) {
	for _, f := range c.GetFilters() {
		config := f.GetTypedConfig()
		if f.GetConfigDiscovery() != nil {
			config = v.extensions[f.GetName()]
		}
		if f.GetName() == managerFilter || open(config, &hcmv3.HttpConnectionManager{}) {
			v.verifyManager(where, config, reached)
		}
	}
}

func (v *verifier) verifyManager(where string, config *anypb.Any, reached map[string]bool) {
	m := &manager{verifier: v, where: where, HttpConnectionManager: &hcmv3.HttpConnectionManager{}}
	if !open(config, m.HttpConnectionManager) {
		v.fault(where, "its connection manager cannot be read", "look at it by hand: nothing in it was verified")
		return
	}
	configs := m.routeConfigs()
	m.companions = m.companionsOf(configs)
	ours := false
	for _, c := range configs {
		for _, w := range m.targetsOf(c) {
			if w.runtime {
				v.runtimeClusters[w.cluster] = true
			}
		}
	}
	for _, c := range configs {
		targets := m.targetsOf(c)
		m.targets = append(m.targets, targets...)
		for _, w := range targets {
			v.toRuntime = v.toRuntime || w.runtime
			ours = ours || w.runtime
			for _, id := range w.providers {
				reached[v.idOf(id)] = true
			}
			ours = ours || len(w.providers) > 0 || w.mounted()
		}
	}
	if !ours {
		return // somebody else's
	}
	for _, c := range configs {
		m.verifyRoutesReadable(c)
	}
	m.verifyStrictReading()
	m.verifyAccessLogs()
	main := m.newChain(where, m.GetHttpFilters())
	main.verifyChain(m.targets)
	for _, u := range m.GetUpgradeConfigs() {
		// An upgrade may have filters of its own, in place of all others.
		if len(u.GetFilters()) > 0 {
			m.newChain(where+" / upgrade "+envoy.Quote(u.GetUpgradeType()), u.GetFilters()).verifyChain(m.targets)
		}
	}
	m.verifyCompanion(main)
	for _, c := range configs {
		m.verifyConsent(c)
	}
}

// routeConfigs returns the routes of a manager, wherever they come from.
func (m *manager) routeConfigs() []*routev3.RouteConfiguration {
	var names []string
	switch s := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		m.routesRead += countRoutes(s.RouteConfig)
		return []*routev3.RouteConfiguration{s.RouteConfig}
	case *hcmv3.HttpConnectionManager_Rds:
		names = []string{s.Rds.GetRouteConfigName()}
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		names = m.scopes[s.ScopedRoutes.GetName()]
		if len(names) == 0 {
			m.warning(m.where, "its scoped routes "+envoy.Quote(s.ScopedRoutes.GetName())+" are not in the dump",
				"take the dump when Envoy has received its configuration")
		}
	}
	var out []*routev3.RouteConfiguration
	for _, name := range names {
		c := m.routes[name]
		if c == nil {
			m.warning(m.where, "its routes "+envoy.Quote(name)+" are not in the dump",
				"take the dump when Envoy has received its configuration")
			continue
		}
		m.routesRead += countRoutes(c)
		out = append(out, c)
	}
	return out
}

func countRoutes(c *routev3.RouteConfiguration) int {
	n := 0
	for _, h := range c.GetVirtualHosts() {
		n += len(h.GetRoutes())
	}
	return n
}

// verifyRoutesReadable reports routes that no dump shows.
func (m *manager) verifyRoutesReadable(c *routev3.RouteConfiguration) {
	where := m.where + " / routes " + envoy.Quote(c.GetName())
	if c.GetVhds() != nil {
		m.warning(where, "virtual hosts are fetched on demand (vhds): those that are not in the dump were not verified",
			"list the virtual hosts in the route configuration")
	}
	hidden := len(c.GetRouteSpecifiers()) > 0
	for _, h := range c.GetVirtualHosts() {
		hidden = hidden || h.GetMatcher() != nil || len(h.GetRouteSpecifiers()) > 0
		for _, r := range h.GetRoutes() {
			hidden = hidden || len(r.GetRouteSpecifiers()) > 0
		}
	}
	if hidden {
		m.fault(where, "routes are chosen by a matcher or an extension, which was not verified",
			"list the routes of each virtual host")
	}
}
