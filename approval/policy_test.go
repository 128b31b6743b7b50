package approval

import (
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

func TestGlobsMatchWithinSegments(t *testing.T) {
	for _, c := range []struct {
		glob, s string
		want    bool
	}{
		{"*", "anything/at?all:1", true},
		{"**", "anything/at?all:1", true},
		{"https://*.example.com/**", "https://a.example.com/x/y", true},
		{"https://*.example.com/**", "https://a.b.example.com/x", true},
		{"https://*.example.com/**", "https://example.com/x", false},
		{"https://*.example.com/**", "https://evil.com/x.example.com/y", false},
		{"https://*.example.com/**", "https://evil.com?.example.com/", false},
		{"https://*.example.com/**", "https://evil.com:1.example.com/", false},
		{"https://*.example.com/*", "https://a.example.com/x", true},
		{"https://*.example.com/*", "https://a.example.com/x/y", false},
		{"https://agent.example/a.json", "https://agent.example/a.json", true},
		{"https://agent.example/a.json", "https://agent.example/a.jsonx", false},
		{"products:*", "", false},
		{"*:read", "products:read", true},
		{"*read", "products:read", false}, // '*' stops at ':'
		{"**:read", "products:read", true},
		{"pictures.*", "pictures.read", true},
		{"a*b*c", "aXbXbc", true},
		{"a*b*c", "aXbX", false},
		{"", "", false},
	} {
		g, err := ParseGlob(c.glob)
		if (c.glob == "") != (err != nil) {
			t.Errorf("%q: %v", c.glob, err)
		}
		if g.Match(c.s) != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.glob, c.s, !c.want, c.want)
		}
	}
	for _, bad := range []string{"***", strings.Repeat("*a", 17), strings.Repeat("a", maxGlobBytes+1)} {
		if _, err := ParseGlob(bad); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
	}
	if (Glob{}).Match("") || (Glob{}).Match("x") {
		t.Error("the zero Glob matches")
	}
}

func TestFirstMatchingRuleWins(t *testing.T) {
	glob := func(s string) []Glob {
		g, err := ParseGlob(s)
		if err != nil {
			t.Fatal(err)
		}
		return []Glob{g}
	}
	p := Policy{Default: Review, Rules: []Rule{
		{Agents: glob("https://bad.example/**"), Action: Deny},
		{Developers: glob("us"), Agents: glob("https://good.example/**"), Providers: glob("shop"), Scopes: glob("**:read"), Action: Approve, Expires: time.Hour},
		{Providers: glob("shop"), Action: Deny},
	}}
	for _, c := range []struct {
		agent, developer, provider, scope string
		want                              Action
		expires                           time.Duration
	}{
		{"https://bad.example/a", "us", "shop", "products:read", Deny, DefaultApproval},
		{"https://good.example/a", "us", "shop", "products:read", Approve, time.Hour},
		{"https://good.example/a", "us", "shop", "orders:write", Deny, DefaultApproval},
		{"https://good.example/a", "them", "shop", "products:read", Deny, DefaultApproval},
		{"https://good.example/a", "us", "other", "products:read", Review, DefaultApproval},
	} {
		agent, err := ath.ParseAgentID(c.agent, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, expires := p.About(agent, c.developer).At([]string{c.provider}).Judge(c.scope); got != c.want || expires != c.expires {
			t.Errorf("%+v: %v for %v", c, got, expires)
		}
	}
	// S-8: whoever can write a developer's id must also have the host.
	for pattern, want := range map[string]bool{
		"https://good.example/**": true, "https://*.good.example/**": true, "https://good.example:8443/a": true, "https://good.example": true, "https://[::1]/**": true,
		"http://good.example:*/**": true,
		"*":                        false, "**": false, "https://**": false, "https://*/agent.json": false, "https://*": false, "https://good.example**": false, "https://*good.example/**": false,
		"https://*.*.example/**": false, "**good.example/**": false, "*://good.example/**": false, "https://good.example*/": false, "https://a.*/x": false, "good.example/**": false,
		"https://good.example:**": false, "https:*good.example/": false, "https://good.example?**": false,
	} {
		r := Rule{Developers: glob("us"), Agents: glob(pattern), Action: Approve}
		if r.KnowsWhom() != want || ((&Policy{Default: Deny, Rules: []Rule{r}}).Check() == nil) != want {
			t.Errorf("a rule that approves by a developer's id and the agents %q: %v", pattern, !want)
		}
	}
	for _, bad := range []Policy{{}, {Default: Deny, Rules: []Rule{{Developers: glob("us"), Providers: glob("shop"), Action: Approve}}}, {Default: "maybe"}, {Default: Deny, Rules: []Rule{{}}}, {Default: Deny, Rules: []Rule{{Action: Approve, Expires: -1}}}} {
		if bad.Check() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func FuzzParseGlob(f *testing.F) {
	f.Add("https://*.example.com/**", "https://a.example.com/x")
	f.Add("*", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		g, err := ParseGlob(pattern)
		if err != nil {
			return
		}
		if !strings.Contains(pattern, "*") && g.Match(s) != (pattern == s) {
			t.Fatalf("%q without a star matches %q otherwise than by being equal", pattern, s)
		}
	})
}
