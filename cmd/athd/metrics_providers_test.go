package main

import (
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
