package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func (m *metrics) newRevocations() {
	m.revocations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "athd_upstream_revocations_total",
		Help: "What became of users' grants at providers after their connections had ended, by provider and outcome.",
	}, []string{"provider", "outcome"})
}

func (m *metrics) observeRevocation(provider, outcome string) {
	m.revocations.WithLabelValues(m.labels.of(provider), outcome).Inc()
}

// showRevocations exports the queue, as it was seen last.
func (m *metrics) showRevocations(queue func() (length int, overdue time.Duration)) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "athd_upstream_revocations_queued", Help: "Grants that are to be revoked at providers, with those that wait for other connections of their user.",
		}, func() float64 { length, _ := queue(); return float64(length) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "athd_upstream_revocations_overdue_seconds", Help: "For how long the first in the queue has been due that nobody has looked at.",
		}, func() float64 { _, overdue := queue(); return overdue.Seconds() }),
	)
}
