package verify_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// Each path of the table has its route to the companion, on its own origin and
// on no other, and verify says where that is an API's instead.
func TestEveryPathHasItsRoute(t *testing.T) {
	hosts := envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, envoyconfig.Variants(t)["consent apart"]))).GetRouteConfig().VirtualHosts
	shop := envoyconfig.AppProvider(t, "shop", "http://shop.default.svc.cluster.local:8080", "", "shop.example")
	for _, row := range ath.Paths() {
		if row.Kind == ath.PathHealth {
			continue // an app that owns "/" has it
		}
		t.Run(row.Path, func(t *testing.T) {
			path := strings.ReplaceAll(row.Sample(), "…", "x")
			for _, host := range hosts {
				on := ath.OnPublic
				if host.Name == "consent" {
					on = ath.OnConsent
				}
				want := row.On&on != 0 && row.Kind != ath.PathDrain
				if got := leadsToCompanion(host, path); got != want {
					t.Errorf("virtual host %s leads %s to the companion: %v", host.Name, path, got)
				}
			}
			if !row.Companion() {
				return
			}
			dump := strings.Replace(string(meshDump("")), handshakeRoutes,
				`{"match":{"prefix":"`+strings.TrimSuffix(row.Sample(), "…")+`"},"route":{"cluster":"outbound|8080||shop"}},{"match":{"prefix":"/ath/"},"direct_response":{"status":404}},{"match":{"prefix":"/.well-known/"},"direct_response":{"status":404}},`, 1)
			v := verified(t, []byte(dump), verify.Expectation{Providers: envoyconfig.Set(t, shop), ByHost: true})
			if !slices.ContainsFunc(v.Findings, func(f verify.Finding) bool {
				return f.Severity == verify.Fault && strings.Contains(f.What, `"`+row.Sample()+`" `+passesToAnAPI)
			}) {
				t.Errorf("a route of %s to an API is not found: %v", row.Sample(), v.Findings)
			}
		})
	}
}

// leadsToCompanion takes the first route for a path, as Envoy does.
func leadsToCompanion(host *routev3.VirtualHost, path string) bool {
	for _, r := range host.Routes {
		m := r.Match
		below, under := strings.CutPrefix(path, m.GetPathSeparatedPrefix())
		switch {
		case m.GetSafeRegex() != nil && regexp.MustCompile("^(?:"+m.GetSafeRegex().Regex+")$").MatchString(path),
			m.GetPath() == path,
			m.GetPrefix() != "" && strings.HasPrefix(path, m.GetPrefix()),
			m.GetPathSeparatedPrefix() != "" && under && (below == "" || below[0] == '/'):
			return r.GetRoute().GetCluster() == "athd_companion"
		}
	}
	return false
}
