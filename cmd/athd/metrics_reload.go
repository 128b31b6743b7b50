package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloadMetrics tell which configuration runs.
type reloadMetrics struct {
	reloads                *prometheus.CounterVec
	info, refused, waiting *prometheus.Desc
	state                  func() configState
}

func newReloadMetrics(state func() configState) *reloadMetrics {
	m := &reloadMetrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_config_reloads_total", Help: "Times that another configuration was taken while athd ran, or refused.",
		}, []string{"outcome"}),
		info:    prometheus.NewDesc("athd_config_info", "Always 1; its label tells the configuration that is in use from others. It is keyed by the keyset, and says nothing of what is in the files.", []string{"digest"}, nil),
		refused: prometheus.NewDesc("athd_config_refused_since_seconds", "When the files of the configuration were refused that are there now, in seconds since 1970. 0: what they hold is in use.", nil, nil),
		waiting: prometheus.NewDesc("athd_config_waiting", "How many changes of the configuration wait for a restart.", nil, nil),
		state:   state,
	}
	for _, outcome := range []string{configTaken, configRefused} {
		m.reloads.WithLabelValues(outcome)
	}
	return m
}

func (m *reloadMetrics) observe(outcome string) { m.reloads.WithLabelValues(outcome).Inc() }

// Describe implements [prometheus.Collector].
func (m *reloadMetrics) Describe(to chan<- *prometheus.Desc) {
	m.reloads.Describe(to)
	to <- m.info
	to <- m.refused
	to <- m.waiting
}

// Collect implements [prometheus.Collector].
func (m *reloadMetrics) Collect(to chan<- prometheus.Metric) {
	m.reloads.Collect(to)
	s := m.state()
	since := 0.0
	if s.Refused != "" {
		since = float64(s.Since.UnixNano()) / float64(time.Second)
	}
	to <- prometheus.MustNewConstMetric(m.info, prometheus.GaugeValue, 1, s.Digest)
	to <- prometheus.MustNewConstMetric(m.refused, prometheus.GaugeValue, since)
	to <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(len(s.Waiting)))
}
