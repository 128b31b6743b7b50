package ath

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPathIsFoundByItsRow(t *testing.T) {
	for _, c := range []struct {
		path string
		row  string // "": athd answers nothing there
		kind PathKind
	}{
		{"/.well-known/ath.json", DiscoveryPath, PathDiscovery},
		{"/.well-known/ath-app.json", AppDiscoveryPath, PathDiscovery},
		{"/.well-known/ath", "", 0},
		{"/.well-known/ath.json/", "", 0},
		{"/ath", "", 0},
		{"/ath/", "", 0},
		{"/athx/token", "", 0},
		{"/ATH/token", "", 0},
		{"/ath/token", TokenPath, PathHandshake},
		{"/ath/token/", "", 0},
		{"/ath/tokens", "", 0},
		{"/ath/agents", "", 0},
		{"/ath/agents/", AgentsPath, PathHandshake},
		{"/ath/agents/register", RegisterPath, PathHandshake},
		{"/ath/agents/ath_x", AgentsPath, PathHandshake},
		{"/ath/callback", CallbackPath, PathCallback},
		{"/ath/callback/", "", 0},
		{"/ath/callback/github", CallbackPath, PathCallback},
		{"/ath/callback/github/x", "", 0},
		{"/ath/consent/", "", 0},
		{"/ath/consent/start", ConsentStartPath, PathConsent},
		{"/ath/admin/agents/x/approve", AdminPath, PathAdmin},
		{"/ath/proxy/github/user", "", 0},
		{"/health", HealthPath, PathHealth},
		{"/ath/health", DrainHealthPath, PathDrain},
		{"ath/token", "", 0},
		{"", "", 0},
	} {
		row, ok := FindPath(c.path)
		if row.Path != c.row || row.Kind != c.kind || ok != (c.row != "") {
			t.Errorf("%q: row %q of kind %d, want %q of kind %d", c.path, row.Path, row.Kind, c.row, c.kind)
		}
	}
	if (Path{}).Match("") || (Path{}).Match("/x") || (Path{}).Companion() {
		t.Error("the zero row matches something")
	}
}

func TestPathPatternMatchesWhatTheRowsDo(t *testing.T) {
	if PathPattern(nil) != "" {
		t.Error("a pattern of no rows is not empty")
	}
	probes := []string{"/", "/ath", "/ath/", "/ath/agents", "/ath/consent/", "/ath/callback/", "/ath/callback/a/b", "/xwell-known/ath.json", "/.well-known/athxjson"}
	for _, p := range Paths() {
		probes = append(probes, p.Path, p.Path+"x", p.Path+"/", p.Path+"/x", p.Path+"/x/y", strings.TrimSuffix(p.Path, "/"), "/x"+p.Path, p.Sample())
	}
	for _, kinds := range [][]PathKind{
		{PathDiscovery}, {PathHandshake}, {PathConsent, PathCallback}, {PathAdmin},
		{PathHandshake, PathCallback, PathAdmin}, {PathHandshake, PathConsent, PathCallback, PathAdmin},
	} {
		var rows []Path
		for _, p := range Paths() {
			if slices.Contains(kinds, p.Kind) {
				rows = append(rows, p)
			}
		}
		pattern := regexp.MustCompile("^(?:" + PathPattern(rows) + ")$")
		for _, probe := range probes {
			want := slices.ContainsFunc(rows, func(p Path) bool { return p.Match(probe) })
			if got := pattern.MatchString(probe); got != want {
				t.Errorf("%s matches %q: %v, and the rows say %v", pattern, probe, got, want)
			}
		}
	}
}

func TestTableOfPathsCannotBeChangedFromOutside(t *testing.T) {
	Paths()[0].Path = "/elsewhere"
	if _, ok := FindPath(DiscoveryPath); !ok {
		t.Error("the table changed")
	}
}

func TestFindPathAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { FindPath("/ath/agents/ath_x") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
