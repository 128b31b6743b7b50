package main

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
)

// A counter that is first seen at 1 has lost its first increase: a provider
// that comes later starts at 0, too, and the counts of one that went stay.
func TestMetricsFollowTheProviders(t *testing.T) {
	parse := func(id string) *provider.Set {
		list, faults := provider.Parse("providers.json", []byte(`{"`+id+`": {"display_name": "X", "available_scopes": ["a"],
			"authorize_endpoint": "https://x.example/a", "token_endpoint": "https://x.example/t", "api_base_url": "https://api.x.example",
			"client_id": "c", "client_secret": "s"}}`), provider.Options{PublicURL: "https://gw.example"})
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		set, err := provider.NewSet(list...)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	providers := provider.NewProviders(parse("first"))
	m := newMetrics(providers)
	shown := func() string {
		w := httptest.NewRecorder()
		m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	const of = `athd_decisions_total{provider="%",reason="allowed"} 0`
	first, second := strings.Replace(of, "%", "first", 1), strings.Replace(of, "%", "second", 1)
	if s := shown(); !strings.Contains(s, first) || strings.Contains(s, second) {
		t.Error("the metrics do not start with the providers that are there")
	}
	providers.Replace(parse("second"))
	if s := shown(); !strings.Contains(s, first) || !strings.Contains(s, second) {
		t.Error("the metrics do not have the provider that came, or lost the one that went")
	}
}

// Each provider has some fifty series: ten thousand of run time must not have half a
// million.
func TestRunTimeProvidersShareALabelBeyondSome(t *testing.T) {
	var all []*provider.Provider
	for i := range 10_000 {
		all = append(all, &provider.Provider{ID: fmt.Sprintf("rt%05d", i), Runtime: true})
	}
	all = append(all, &provider.Provider{ID: "filed"})
	set, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	providers := provider.NewProviders(set)
	m := newMetrics(providers)
	m.observeRenewal("rt00001", "renewed")
	m.observeRenewal("rt09999", "renewed")
	m.observeRenewal("filed", "renewed")
	without, err := set.With([]string{"rt00001"}, &provider.Provider{ID: "rt-late", Runtime: true})
	if err != nil {
		t.Fatal(err)
	}
	providers.Replace(without)
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	shown := w.Body.String()
	for _, want := range []string{
		`athd_renewals_total{outcome="renewed",provider="rt00001"} 1`, `athd_renewals_total{outcome="renewed",provider="filed"} 1`,
		`athd_renewals_total{outcome="renewed",provider="(runtime)"} 1`, `athd_decisions_total{provider="(runtime)",reason="allowed"} 0`,
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("%s is not shown", want)
		}
	}
	if strings.Contains(shown, "rt09999") || strings.Contains(shown, "rt-late") {
		t.Error("one beyond those that have labels has one")
	}
	if n := strings.Count(shown, "\n"); n > 8000 {
		t.Errorf("%d lines", n)
	}
}
