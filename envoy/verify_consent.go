package envoy

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/athd/athd/ath"
)

// What is on the consent pages' own host, and some of what is not.
var (
	consentSamples   = []string{"/ath/consent/start", "/ath/consent/decide", "/ath/consent/done", "/ath/callback"}
	elsewhereSamples = []string{
		"/.well-known/ath.json", "/.well-known/ath-app.json", "/ath/authorize", "/ath/token", "/ath/revoke",
		"/ath/agents/…", "/ath/admin/…", proxyPrefix + "…", "/health", "/…",
	}
)

// consentHolds wants the consent pages on the host that is theirs alone, with
// nothing beside them: what shares an origin with them can press their buttons.
func (m *manager) consentHolds(config *routev3.RouteConfiguration) {
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
	const remedy = "give it a virtual host of its own, as athd bootstrap -part routes prints it"
	if there == nil {
		m.say(m.ours(), m.where+" / routes "+quote(config.GetName()), "the consent pages' host "+quote(own.String())+" has no virtual host: what answers any host answers there, too, or nothing does", remedy)
		return
	}
	reached := map[string]bool{}
	for _, w := range m.lanes {
		if w.config != config || !w.forwards() {
			continue
		}
		if w.host != there {
			if m.isCompanion(w) && w.takes(consentSamples[0]) && w.takes(consentSamples[1]) {
				m.warning(w.where, "it leads the consent pages' paths to athd on another host than "+quote(own.String())+", where athd answers 404", "leave /ath/consent/ out of it")
			}
			continue
		}
		if !m.isCompanion(w) {
			m.fault(w.where, "it leads away from athd on the consent pages' host: what answers there can press their buttons", "lead nothing on this host elsewhere")
			continue
		}
		for _, path := range consentSamples {
			reached[path] = reached[path] || w.takes(path)
		}
		if i := slices.IndexFunc(elsewhereSamples, w.takes); i >= 0 {
			m.warning(w.where, "on the consent pages' host it also leads "+quote(elsewhereSamples[i])+" to athd, which answers 404 there", "leave the consent pages' paths alone in it")
		}
	}
	for _, path := range consentSamples {
		if !reached[path] {
			m.fault(m.where+" / virtual host "+quote(there.GetName()), "the consent pages' host does not lead "+quote(path)+" to athd: users cannot consent", remedy)
		}
	}
}
