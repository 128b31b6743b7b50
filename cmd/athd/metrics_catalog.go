package main

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/catalog"
)

// showCatalog exports how the run-time providers do.
func (m *metrics) showCatalog(status func() catalog.Status) {
	of := func(name, help string, value func(catalog.Status) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(status()) }))
	}
	of("athd_runtime_providers_loaded", "1 once the run-time providers were read since athd started. 0: requests for one are answered 503.", func(s catalog.Status) float64 {
		if s.Loaded {
			return 1
		}
		return 0
	})
	of("athd_runtime_providers_generation", "Number of the last change of a run-time provider that is there. All athd of one Redis have the same, but for a second.", func(s catalog.Status) float64 { return float64(s.Generation) })
	of("athd_runtime_providers_connections_left", "Connections of removed providers that are yet to be ended, or revoked at their OAuth servers.", func(s catalog.Status) float64 { return float64(s.Left) })
	m.registry.MustRegister(&catalogGauge{status})
}

// A catalogGauge counts run-time providers by their state.
type catalogGauge struct{ status func() catalog.Status }

var catalogDesc = prometheus.NewDesc("athd_runtime_providers", "Run-time providers by state: active; draining (removed, and their connections are being ended); shadowed (a file has the name); unreadable (this athd cannot use the record).", []string{"state"}, nil)

// Describe implements [prometheus.Collector].
func (g *catalogGauge) Describe(to chan<- *prometheus.Desc) { to <- catalogDesc }

// Collect implements [prometheus.Collector].
func (g *catalogGauge) Collect(to chan<- prometheus.Metric) {
	s := g.status()
	for state, n := range map[string]int{"active": s.Active, "draining": s.Draining.N, "shadowed": s.Shadowed.N, "unreadable": s.Unreadable.N} {
		to <- prometheus.MustNewConstMetric(catalogDesc, prometheus.GaugeValue, float64(n), state)
	}
}

// catalogCheck is what /readyz says of the run-time providers. It makes nobody
// unready: those of files go on, and no other athd could do more.
func catalogCheck(s catalog.Status) (c api.ReadinessCheck, warnings []string) {
	c = api.ReadinessCheck{OK: s.Loaded && s.Unreadable.N == 0, Generation: &s.Generation}
	switch {
	case !s.Loaded:
		c.Error = "not read yet"
		warnings = append(warnings, "the run-time providers were not read from the store since athd started: requests for one are answered 503")
	case !c.OK:
		c.Error = "see warnings"
	}
	if n := s.Unreadable; n.N > 0 {
		warnings = append(warnings, fmt.Sprintf("%d run-time providers cannot be used by this athd, and serve nobody here: %s (athctl providers show says why)", n.N, names(n)))
	}
	if n := s.Shadowed; n.N > 0 {
		warnings = append(warnings, fmt.Sprintf("%d run-time providers serve nobody, since a file has their names: %s", n.N, names(n)))
	}
	return c, warnings
}

// names are some ids of many.
func names(n catalog.Named) string {
	ids := make([]string, len(n.IDs))
	for i, id := range n.IDs {
		if ids[i] = id; id == "" {
			ids[i] = "(a record that does not open)"
		}
	}
	text := strings.Join(ids, ", ")
	if more := n.N - len(n.IDs); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
