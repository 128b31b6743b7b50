package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/athd/athd/athflow"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/internal/version"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/revocation"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// metrics is what /metrics shows. No label holds anything that an agent sent.
type metrics struct {
	registry     *prometheus.Registry
	decisions    *prometheus.CounterVec
	decisionTime prometheus.Histogram
	events       *prometheus.CounterVec
	dropped      prometheus.Counter
	storeTime    *prometheus.HistogramVec
	storeErrors  *prometheus.CounterVec
	unreadable   *prometheus.CounterVec
	limited      *prometheus.CounterVec
	changes      *prometheus.CounterVec
	refreshes    *prometheus.CounterVec
	revocations  *prometheus.CounterVec
	healings     *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	renewals     *prometheus.CounterVec
	refreshTime  *prometheus.HistogramVec
	operators    *operatorMetrics
	echoed       *prometheus.CounterVec
	apiLimited   *prometheus.CounterVec

	labels providerLabels
	shown  *provider.Set // by showProviders

	// Of those that every request asks for. Their labels are of closed sets.
	byDecision lookup[decisionLabels, prometheus.Counter]
	byEvent    lookup[audit.Kind, prometheus.Counter]
	byOp       lookup[string, opMetrics]
}

type decisionLabels struct {
	reason   authz.Reason
	provider string
}

type opMetrics struct {
	time   prometheus.Observer
	failed prometheus.Counter
}

func newMetrics(providers *provider.Providers) *metrics {
	// From 50 µs, which is one good round trip, to more than any deadline.
	buckets := []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}
	m := &metrics{
		labels:   providerLabels{providers: providers},
		registry: prometheus.NewRegistry(),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_decisions_total",
			Help: "Decisions about requests, by reason and by provider; no provider where the route leads to none.",
		}, []string{"reason", "provider"}),
		decisionTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "athd_decision_seconds", Help: "Time that a decision took.", Buckets: buckets,
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_events_total", Help: "Audit events, by kind.",
		}, []string{"event"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "athd_audit_dropped_total", Help: "Audit events that could not be written, or not fast enough.",
		}),
		storeTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "athd_store_seconds", Help: "Time that an operation of the store took.", Buckets: buckets,
		}, []string{"op"}),
		storeErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_store_errors_total",
			Help: "Operations of the store that failed: it was away, or a record did not open.",
		}, []string{"op"}),
		unreadable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_records_unreadable_total", Help: "Times that a stored record was read and did not open, by its kind.",
		}, []string{"record"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_limited_total", Help: "Requests of the handshake that were too much, by the limit.",
		}, []string{"limit"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_change_feed_changes_total", Help: "Changes that came by the change feed, of this athd and all others, by kind.",
		}, []string{"kind"}),
	}
	m.operators = newOperatorMetrics()
	m.newRefreshes()
	m.newRevocations()
	m.newHealings()
	m.newReplies()
	m.newRejected()
	m.renewals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "athd_renewals_total", Help: "Tokens that agents asked for by a standing consent, by provider and outcome.",
	}, []string{"provider", "outcome"})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "athd_build_info", Help: "Always 1; its labels tell what runs.",
	}, []string{"version", "revision", "go"})
	running := version.Current()
	build.WithLabelValues(running.Version, running.Revision, running.Go).Set(1)
	m.registry.MustRegister(m.decisions, m.decisionTime, m.events, m.dropped, m.storeTime, m.storeErrors, m.unreadable, m.limited, m.changes, m.refreshes, m.refreshTime, m.revocations, m.renewals, m.healings, m.echoed, m.apiLimited, m.rejected, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// A counter that starts with its first increase loses that increase.
	for _, reason := range authz.Reasons() {
		m.decisions.WithLabelValues(string(reason), "")
	}
	for _, outcome := range athflow.RenewalOutcomes() {
		m.renewals.WithLabelValues("", outcome)
	}
	providers.Each(m.showProviders)
	for _, limit := range httpapi.LimitNames() {
		m.limited.WithLabelValues(limit)
	}
	for _, kind := range tokenstore.SealedKinds() {
		m.unreadable.WithLabelValues(kind)
	}
	for _, kind := range audit.Kinds() {
		m.events.WithLabelValues(string(kind))
	}
	return m
}

// showProviders starts the counters of each provider of a set that has labels of its
// own at 0. Those of a provider that is gone stay: what was counted was counted.
func (m *metrics) showProviders(set *provider.Set) {
	_, come := provider.Diff(m.shown, set)
	m.shown = set
	for _, id := range m.labels.add(come) {
		for _, reason := range authz.Reasons() {
			m.decisions.WithLabelValues(string(reason), id)
		}
		for _, outcome := range revocation.Outcomes() {
			m.revocations.WithLabelValues(id, outcome)
		}
		for _, outcome := range athflow.HealingOutcomes() {
			m.healings.WithLabelValues(id, outcome)
		}
		for _, outcome := range athflow.RenewalOutcomes() {
			m.renewals.WithLabelValues(id, outcome)
		}
		for _, outcome := range vault.Outcomes() {
			m.refreshes.WithLabelValues(id, outcome)
		}
		m.refreshTime.WithLabelValues(id)
		m.echoed.WithLabelValues(id)
		m.apiLimited.WithLabelValues(id)
		for _, outcome := range vault.Rejections() {
			m.rejected.WithLabelValues(id, string(outcome))
		}
	}
}

func (m *metrics) observeDecision(d *authz.Decision, provider string, took time.Duration) {
	m.byDecision.get(decisionLabels{d.Reason(), m.labels.of(provider)}, func(l decisionLabels) prometheus.Counter {
		return m.decisions.WithLabelValues(string(l.reason), l.provider)
	}).Inc()
	m.decisionTime.Observe(took.Seconds())
}

func (m *metrics) countEvent(e audit.Event) {
	m.byEvent.get(e.Kind, func(k audit.Kind) prometheus.Counter { return m.events.WithLabelValues(string(k)) }).Inc()
}

func (m *metrics) countDropped(n int) { m.dropped.Add(float64(n)) }

// observeStore counts as errors only what is the store's own fault: "not
// found" is an answer.
func (m *metrics) observeStore(op string, took time.Duration, err error) {
	at := m.byOp.get(op, func(op string) opMetrics {
		return opMetrics{m.storeTime.WithLabelValues(op), m.storeErrors.WithLabelValues(op)}
	})
	at.time.Observe(took.Seconds())
	if errors.Is(err, tokenstore.ErrUnavailable) || errors.Is(err, tokenstore.ErrCorrupt) || errors.Is(err, tokenstore.ErrOtherKeyset) {
		at.failed.Inc()
	}
}

func (m *metrics) observeRenewal(provider, outcome string) {
	m.renewals.WithLabelValues(m.labels.of(provider), outcome).Inc()
}

func (m *metrics) observeLimit(limit string) { m.limited.WithLabelValues(limit).Inc() }

// showReadiness lets the metrics say what /readyz says, for those who watch
// athd by its metrics alone.
func (m *metrics) showReadiness(r *readiness) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "athd_ready", Help: "1 while /readyz answers 200: the store answers, and all listeners serve.",
	}, func() float64 {
		if r.report(context.Background()).Status == "ready" {
			return 1
		}
		return 0
	}))
	// Of a store that does not answer nothing is known: 0.
	for name, part := range map[string]struct {
		help string
		of   func(tokenstore.Health) float64
	}{
		"athd_store_refuses_writes": {"1 while the store answers but takes no writes: it is full, cannot write to its disk, or lacks replicas.", func(h tokenstore.Health) float64 {
			if h.Refuses != "" {
				return 1
			}
			return 0
		}},
		"athd_store_used_memory_bytes": {"Memory that Redis uses. 0: not known.", func(h tokenstore.Health) float64 { return float64(h.UsedMemory) }},
		"athd_store_max_memory_bytes":  {"Redis' maxmemory. 0: not known, or no limit.", func(h tokenstore.Health) float64 { return float64(h.MaxMemory) }},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: part.help}, func() float64 {
			health, err := r.ask(context.Background())
			if err != nil {
				return 0
			}
			return part.of(health)
		}))
	}
}

func (m *metrics) showUnwritten(l *audit.Log) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "athd_audit_events_unwritten", Help: "Audit events that could not be written and are tried again. While there are any, nothing is granted.",
	}, func() float64 {
		waiting, _ := l.Unwritten()
		return float64(waiting)
	}))
}

func (m *metrics) showUses(dropped func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "athd_connection_uses_dropped_total", Help: "Times that the use of a connection was not noted, since too many waited.",
	}, func() float64 { return float64(dropped()) }))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
