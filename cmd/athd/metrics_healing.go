package main

import "github.com/prometheus/client_golang/prometheus"

func (m *metrics) newHealings() {
	m.healings = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "athd_healings_total",
		Help: "Links by which users give connections new tokens that the provider has ended, by provider and what became of them.",
	}, []string{"provider", "outcome"})
}

func (m *metrics) observeHealing(provider, outcome string) {
	m.healings.WithLabelValues(m.labels.of(provider), outcome).Inc()
}
