package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/envoy/reply"
)

// newReplies makes the counters of what APIs' replies to agents hold, where athd hears
// of them.
func (m *metrics) newReplies() {
	m.echoed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "athd_credentials_echoed_total", Help: "Replies of APIs whose head held the user's token, which was taken out.",
	}, []string{"provider"})
	m.apiLimited = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "athd_api_rate_limited_total", Help: "Replies of APIs to agents with status 429, which pass as they are.",
	}, []string{"provider"})
}

// observeReply counts what [reply.Role] has seen.
func (m *metrics) observeReply(provider, what string) {
	switch what {
	case reply.Echoed:
		m.echoed.WithLabelValues(m.labels.of(provider)).Inc()
	case reply.Limited:
		m.apiLimited.WithLabelValues(m.labels.of(provider)).Inc()
	}
}
