package main

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
)

// issuerWarnings tells what is wrong with an issuer whose endpoints are not
// written. It makes nobody unready: other providers go on, and no other athd
// could do more.
func issuerWarnings(s issuer.Status) []string {
	var all []string
	names := strings.Join(s.Providers, " ")
	switch {
	case !s.Known && s.Failed != nil:
		all = append(all, fmt.Sprintf("provider %s: its OAuth server's metadata could not be had yet, and it is answered 503: %s", names, provider.Said(s.Failed.Error())))
	case !s.Known:
		all = append(all, fmt.Sprintf("provider %s: its OAuth server's metadata is not known yet, and it is answered 503", names))
	}
	if len(s.Moves) > 0 {
		all = append(all, fmt.Sprintf("provider %s: its OAuth server moves endpoints to another host, which is not followed (athctl providers show %s)", names, s.Providers[0]))
	}
	return all
}

// An issuerGauges collects what is known of issuers, by provider.
type issuerGauges struct {
	status               func() []issuer.Status
	labels               *providerLabels
	known, moved, unread *prometheus.Desc
}

// showIssuers exports what is known of issuers whose endpoints are not written.
func (m *metrics) showIssuers(status func() []issuer.Status) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"provider"}, nil)
	}
	m.registry.MustRegister(&issuerGauges{
		status: status, labels: &m.labels,
		known:  desc("athd_provider_metadata_known", "1 if the endpoints of a provider that says its issuer alone are known. 0: it is answered 503."),
		moved:  desc("athd_provider_endpoints_moved", "1 while the issuer moves endpoints to another host, and no operator has accepted that."),
		unread: desc("athd_provider_metadata_failing", "1 while the issuer's metadata could not be had when it was asked for last."),
	})
}

// Describe implements [prometheus.Collector].
func (g *issuerGauges) Describe(to chan<- *prometheus.Desc) {
	to <- g.known
	to <- g.moved
	to <- g.unread
}

// Collect implements [prometheus.Collector].
func (g *issuerGauges) Collect(to chan<- prometheus.Metric) {
	type worst struct{ known, moved, unread float64 }
	of := map[string]*worst{} // of those that share a label the worst is told
	raise := func(to *float64, is bool) {
		if is {
			*to = 1
		}
	}
	for _, s := range g.status() {
		for _, id := range s.Providers {
			label := g.labels.of(id)
			if of[label] == nil {
				of[label] = &worst{known: 1}
			}
			w := of[label]
			if !s.Known {
				w.known = 0
			}
			raise(&w.moved, len(s.Moves) > 0)
			raise(&w.unread, s.Failed != nil)
		}
	}
	for label, w := range of {
		to <- prometheus.MustNewConstMetric(g.known, prometheus.GaugeValue, w.known, label)
		to <- prometheus.MustNewConstMetric(g.moved, prometheus.GaugeValue, w.moved, label)
		to <- prometheus.MustNewConstMetric(g.unread, prometheus.GaugeValue, w.unread, label)
	}
}
