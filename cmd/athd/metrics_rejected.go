package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/vault"
)

func (m *metrics) newRejected() {
	m.rejected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "athd_rejected_tokens_total",
		Help: "Calls that an API answered with 401 although its provider had given the token, by provider and what became of the token.",
	}, []string{"provider", "outcome"})
}

func (m *metrics) observeRejected(provider string, outcome vault.Rejection) {
	m.rejected.WithLabelValues(m.labels.of(provider), string(outcome)).Inc()
}
