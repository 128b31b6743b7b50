package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/vault"
)

func (m *metrics) newRefreshes() {
	m.refreshes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "athd_refreshes_total",
		Help: "Calls to providers that refresh a user's token, by provider and outcome.",
	}, []string{"provider", "outcome"})
	m.refreshTime = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "athd_refresh_seconds", Help: "Time that a provider took to answer a refresh.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
	}, []string{"provider"})
}

func (m *metrics) observeRefresh(provider, outcome string, took time.Duration) {
	provider = m.labels.of(provider)
	m.refreshes.WithLabelValues(provider, outcome).Inc()
	m.refreshTime.WithLabelValues(provider).Observe(took.Seconds())
}

// showRefreshes exports what is under way.
func (m *metrics) showRefreshes(v *vault.Vault, providers *provider.Providers) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "athd_refreshes_in_flight", Help: "Calls to providers that refresh a user's token and are not answered yet.",
		}, func() float64 { return float64(v.InFlight()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "athd_refreshed_tokens_unwritten", Help: "New tokens that are in memory only, since Redis does not take them. They are written until it does.",
		}, func() float64 { return float64(v.Unwritten()) }),
		&backoffs{v, providers, &m.labels},
	)
}

// backoffs exports which providers are left alone.
type backoffs struct {
	vault     *vault.Vault
	providers *provider.Providers
	labels    *providerLabels
}

var backoffDesc = prometheus.NewDesc("athd_provider_backed_off",
	"1 while a provider is not asked to refresh tokens, since it gave none several times in a row.", []string{"provider"}, nil)

// Describe implements [prometheus.Collector].
func (b *backoffs) Describe(to chan<- *prometheus.Desc) { to <- backoffDesc }

// Collect implements [prometheus.Collector].
func (b *backoffs) Collect(to chan<- prometheus.Metric) {
	shut, value := b.vault.BackedOff(), map[string]float64{}
	b.providers.Current().Each(func(p *provider.Provider) bool {
		label := b.labels.of(p.ID)
		if shut[p.ID] {
			value[label] = 1
		} else {
			value[label] += 0
		}
		return true
	})
	for label, v := range value {
		to <- prometheus.MustNewConstMetric(backoffDesc, prometheus.GaugeValue, v, label)
	}
}
