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
	known, moved, unread *prometheus.Desc
}

// showIssuers exports what is known of issuers whose endpoints are not written.
func (m *metrics) showIssuers(status func() []issuer.Status) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"provider"}, nil)
	}
	m.registry.MustRegister(&issuerGauges{
		status: status,
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
	gauge := func(desc *prometheus.Desc, is bool, id string) {
		value := 0.0
		if is {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, id)
	}
	for _, s := range g.status() {
		for _, id := range s.Providers {
			gauge(g.known, s.Known, id)
			gauge(g.moved, len(s.Moves) > 0, id)
			gauge(g.unread, s.Failed != nil, id)
		}
	}
}
