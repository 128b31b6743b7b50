package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/tokenstore"
)

// keysetMetrics are told of the keyset: ids of keys, and nothing else of them.
type keysetMetrics struct {
	reloads       *prometheus.CounterVec
	info, refused *prometheus.Desc
	keys          func() *tokenstore.Keyset
	state         func() keysetState
}

func newKeysetMetrics() *keysetMetrics {
	k := &keysetMetrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_keyset_reloads_total", Help: "Times that another keyset was taken, or refused.",
		}, []string{"outcome"}),
		info:    prometheus.NewDesc("athd_keyset_info", "Always 1; its labels tell the keys that are in use, and which one seals.", []string{"key_id", "seals"}, nil),
		refused: prometheus.NewDesc("athd_keyset_refused", "1 while the file of the keyset is not what is in use, since it would lock athd out or is none.", nil, nil),
	}
	for _, outcome := range []string{keysetTaken, keysetRefused} {
		k.reloads.WithLabelValues(outcome)
	}
	return k
}

func (k *keysetMetrics) observe(outcome string) { k.reloads.WithLabelValues(outcome).Inc() }

// show exports them, once there is a store.
func (m *metrics) showKeyset(k *keysetMetrics, keys func() *tokenstore.Keyset, state func() keysetState) {
	k.keys, k.state = keys, state
	m.registry.MustRegister(k, k.reloads)
}

// Describe implements [prometheus.Collector].
func (k *keysetMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- k.info
	to <- k.refused
}

// Collect implements [prometheus.Collector].
func (k *keysetMetrics) Collect(to chan<- prometheus.Metric) {
	for _, key := range k.keys().Keys() {
		if key.Enabled {
			to <- prometheus.MustNewConstMetric(k.info, prometheus.GaugeValue, 1, strconv.FormatUint(uint64(key.ID), 10), strconv.FormatBool(key.Primary))
		}
	}
	refused := 0.0
	if k.state().Refused != "" {
		refused = 1
	}
	to <- prometheus.MustNewConstMetric(k.refused, prometheus.GaugeValue, refused)
}
