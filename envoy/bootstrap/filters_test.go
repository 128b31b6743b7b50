package bootstrap

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// What athd must see of a request to judge it or to take it away, it is told:
// what it is not told of it cannot remove. proves: P-5
func TestWhatAthdMustSeeItIsTold(t *testing.T) {
	u := &url.URL{Scheme: "https", Host: "site.example"}
	open, err := provider.NewSet(&provider.Provider{ID: "site", AuthorizeURL: u, TokenURL: u, APIBase: u, App: &provider.App{Passthrough: true, Upstream: u}})
	if err != nil {
		t.Fatal(err)
	}
	closed, err := provider.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	always := []string{":method", ":path", "authorization", "upgrade", "x-ath-agent-id", "x-ath-anything", "x-ath-stream-ms", "referer", "x-api-key", "x-auth-token", "api-key", "proxy-authorization"}
	always = append(append(always, envoy.OverrideHeaders[:]...), envoy.IdentityHeaders[:]...)
	for _, p := range envoy.IdentityPrefixes {
		always = append(always, p+"a")
	}
	for _, c := range []struct {
		config    Config
		told, not []string
	}{
		{Config{Providers: closed}, nil, []string{"cookie", "x-forwarded-for", "x-envoy-internal", "accept", "content-type"}},
		{Config{Providers: closed, TrustedHops: 1}, []string{"x-forwarded-for"}, []string{"cookie"}},
		{Config{Providers: open}, []string{"cookie"}, []string{"x-forwarded-for"}},
	} {
		tell, hide := (&generator{config: c.config}).told()
		told := func(name string) bool { return matchesAny(tell, name) && !matchesAny(hide, name) }
		for _, name := range append(slices.Clone(always), c.told...) {
			if !told(name) {
				t.Errorf("%d trusted hops: athd is not told %s", c.config.TrustedHops, name)
			}
		}
		for _, name := range c.not {
			if told(name) {
				t.Errorf("%d trusted hops: athd is told %s", c.config.TrustedHops, name)
			}
		}
	}
}

func matchesAny(patterns []*matcherv3.StringMatcher, name string) bool {
	return slices.ContainsFunc(patterns, func(p *matcherv3.StringMatcher) bool {
		switch m := p.MatchPattern.(type) {
		case *matcherv3.StringMatcher_Exact:
			return name == m.Exact
		case *matcherv3.StringMatcher_Prefix:
			return strings.HasPrefix(name, m.Prefix)
		case *matcherv3.StringMatcher_Contains:
			return strings.Contains(name, m.Contains)
		}
		panic(p)
	})
}

// What athd's reply must remove Envoy lets it, and nothing that steers Envoy or tells whose request it is.
func TestRepliesMayRemoveWhatIdentifies(t *testing.T) {
	pattern, lead := regexp.MustCompile(mayChange), regexp.MustCompile(mayLead)
	judge, leadJudge := regexp.MustCompile("^("+mayJudge), regexp.MustCompile("^(:p?a|"+mayJudge)
	names := append([]string{"authorization", "cookie", "x-ath-agent-id"}, envoy.OverrideHeaders[:]...)
	names = append(names, envoy.IdentityHeaders[:]...)
	for _, p := range envoy.IdentityPrefixes {
		names = append(names, p+"user")
	}
	for _, name := range names {
		if !pattern.MatchString(name) || !lead.MatchString(name) || !judge.MatchString(name) || !leadJudge.MatchString(name) {
			t.Errorf("%s cannot be removed", name)
		}
	}
	for _, name := range []string{":path", "host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix",
		"x-envoy-original-path", "x-other", "x-api-key", "x-real-ip", "x-request-id", "content-length", "transfer-encoding", "connection", "te", "accept", ":method", ":scheme"} {
		if pattern.MatchString(name) || judge.MatchString(name) || name != ":path" && (lead.MatchString(name) || leadJudge.MatchString(name)) {
			t.Errorf("%s can be changed", name)
		}
	}
}
