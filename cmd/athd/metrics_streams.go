package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/watch"
)

// streamMetrics count what becomes of calls that go on.
type streamMetrics struct {
	ended   *prometheus.CounterVec
	refused *prometheus.CounterVec
	took    prometheus.Histogram
}

func newStreamMetrics() *streamMetrics {
	m := &streamMetrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_streams_ended_total", Help: "Watched exchanges that athd has ended, by reason.",
		}, []string{"reason"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_streams_refused_total", Help: "Exchanges that were refused since too many were watched, by the key of limits.streams.",
		}, []string{"limit"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "athd_stream_end_seconds",
			Help:    "Time from when athd learned that an exchange has lost what it held, or from its end, until it ended it.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
	}
	// A counter that starts with its first increase loses that increase.
	for _, reason := range watch.Reasons() {
		m.ended.WithLabelValues(string(reason))
	}
	for _, limit := range watch.LimitNames() {
		m.refused.WithLabelValues(limit)
	}
	return m
}

func (m *streamMetrics) observeEnd(reason watch.Reason, took time.Duration) {
	m.ended.WithLabelValues(string(reason)).Inc()
	m.took.Observe(took.Seconds())
}

func (m *streamMetrics) observeRefusal(limit string) { m.refused.WithLabelValues(limit).Inc() }

// showStreams exports how many are watched, beside what became of others.
func (m *metrics) showStreams(s *streamMetrics, watched func() int) {
	m.registry.MustRegister(s.ended, s.refused, s.took, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "athd_streams", Help: "Exchanges that this athd watches now.",
	}, func() float64 { return float64(watched()) }))
}
