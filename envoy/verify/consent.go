package verify

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// verifyConsent wants the consent pages on the host that is theirs alone, with
// nothing beside them: what shares an origin with them can press their buttons.
func (m *manager) verifyConsent(config *routev3.RouteConfiguration) {
	own := m.expect.ConsentHost
	if own.IsZero() {
		return
	}
	var there *routev3.VirtualHost
	for _, h := range config.GetVirtualHosts() {
		for _, domain := range h.GetDomains() {
			if ath.RequestedHost(domain) == own {
				there = h
			}
		}
	}
	const remedy = "give it a virtual host of its own, as athd bootstrap --part routes prints it"
	if there == nil {
		m.say(m.ours(), m.where+" / routes "+envoy.Quote(config.GetName()), "the consent pages' host "+envoy.Quote(own.String())+" has no virtual host: what answers any host answers there, too, or nothing does", remedy)
		return
	}
	pages := samples(envoy.CompanionPaths(func(p ath.Path) bool { return p.On == ath.OnConsent }))
	here := samples(envoy.CompanionPaths(func(p ath.Path) bool { return p.On&ath.OnConsent != 0 }))
	elsewhere := append(samples(envoy.CompanionPaths(func(p ath.Path) bool { return p.On&ath.OnConsent == 0 })), ath.ProxyPath+"…", ath.HealthPath, "/…")
	reached := map[string]bool{}
	for _, w := range m.targets {
		if w.config != config || !w.forwards() {
			continue
		}
		if w.host != there {
			if m.isCompanion(w) && slices.ContainsFunc(pages, w.takes) {
				m.warning(w.where, "it leads the consent pages' paths to athd on another host than "+envoy.Quote(own.String())+", where athd answers 404", "leave /ath/consent/ and /ath/heal/ out of it")
			}
			continue
		}
		if !m.isCompanion(w) {
			m.fault(w.where, "it leads away from athd on the consent pages' host: what answers there can press their buttons", "lead nothing on this host elsewhere")
			continue
		}
		for _, path := range here {
			reached[path] = reached[path] || w.takes(path)
		}
		if i := slices.IndexFunc(elsewhere, w.takes); i >= 0 {
			m.warning(w.where, "on the consent pages' host it also leads "+envoy.Quote(elsewhere[i])+" to athd, which answers 404 there", "leave the consent pages' paths alone in it")
		}
	}
	for _, path := range here {
		if !reached[path] {
			m.fault(m.where+" / virtual host "+envoy.Quote(there.GetName()), "the consent pages' host does not lead "+envoy.Quote(path)+" to athd: users cannot consent", remedy)
		}
	}
}
