package bootstrap_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// S-5; proves: Z-3
func TestConsentPagesHaveAVirtualHostForThemselves(t *testing.T) {
	c := envoyconfig.Variants(t)["consent apart"]
	pages := []string{"/ath/consent/start", "/ath/consent/decide", "/ath/consent/done"}
	callbacks := []string{"/ath/callback", "/ath/callback/github"}
	others := []string{"/ath/token", "/ath/authorize", "/ath/revoke", "/ath/agents/register", "/ath/admin/agents",
		"/.well-known/ath.json", "/.well-known/ath-app.json", "/health", "/", "/ath/consent/other", "/ath/callback/a/b"}
	found := false
	for _, host := range envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, c))).GetRouteConfig().VirtualHosts {
		here := slices.Equal(host.Domains, []string{"consent.localhost"})
		found = found || here
		companion := func(path string) bool {
			for _, r := range host.Routes {
				if r.GetRoute().GetCluster() == "athd_companion" && r.Match.GetSafeRegex() != nil &&
					regexp.MustCompile("^(?:"+r.Match.GetSafeRegex().Regex+")$").MatchString(path) {
					return true
				}
			}
			return false
		}
		for _, path := range pages {
			if companion(path) != here {
				t.Errorf("%v: %s leads to the companion: %v", host.Domains, path, !here)
			}
		}
		for _, path := range callbacks {
			if !companion(path) {
				t.Errorf("%v: %s does not lead to the companion", host.Domains, path)
			}
		}
		if !here {
			continue
		}
		for _, path := range others {
			if companion(path) {
				t.Errorf("%s leads to the companion", path)
			}
		}
		for _, r := range host.Routes {
			if cluster := r.GetRoute().GetCluster(); strings.HasPrefix(cluster, "provider_") || r.GetDirectResponse() == nil && cluster != "athd_companion" {
				t.Errorf("route %q of the consent host leads to %v", r.Name, r.Action)
			}
		}
	}
	if !found {
		t.Error("the consent pages have no virtual host")
	}
}

// What goes into an Envoy that is there keeps the whole of this virtual host,
// and leaves what answers everything out of the others.
func TestConsentHostIsPastedWhole(t *testing.T) {
	text, err := bootstrap.Print(envoyconfig.Variants(t)["consent apart"], bootstrap.Routes)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "name: not_found\n"); n != 1 {
		t.Errorf("%d routes answer everything, want that of the consent pages' host", n)
	}
	if !strings.Contains(string(text), "- consent.localhost\n") {
		t.Error("there is no virtual host for consent.localhost")
	}
}
