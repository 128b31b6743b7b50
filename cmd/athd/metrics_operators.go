package main

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/httpapi"
)

// operatorMetrics are told of operators: their names and roles, and what they were
// refused.
type operatorMetrics struct {
	refusals  *prometheus.CounterVec
	expires   *prometheus.Desc
	operators func() []httpapi.Operator // of now
}

func newOperatorMetrics() *operatorMetrics {
	o := &operatorMetrics{
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "athd_operator_refusals_total", Help: "Requests for operators that were refused: without an admin token that is known, with an expired one, or with one whose role is too small.",
		}, []string{"reason"}),
		expires: prometheus.NewDesc("athd_admin_token_expiry_timestamp_seconds", "When the last admin token of an operator expires, as Unix time; +Inf: never.", []string{"operator", "role"}, nil),
	}
	for _, why := range httpapi.OperatorRefusals() {
		o.refusals.WithLabelValues(why)
	}
	return o
}

func (o *operatorMetrics) observe(why string) { o.refusals.WithLabelValues(why).Inc() }

// showOperators exports them, once there is who knows the operators.
func (m *metrics) showOperators(operators func() []httpapi.Operator) {
	m.operators.operators = operators
	m.registry.MustRegister(m.operators, m.operators.refusals)
}

// Describe implements [prometheus.Collector].
func (o *operatorMetrics) Describe(to chan<- *prometheus.Desc) { to <- o.expires }

// Collect implements [prometheus.Collector].
func (o *operatorMetrics) Collect(to chan<- prometheus.Metric) {
	for _, one := range o.operators() {
		end := math.Inf(1)
		if !one.Expires.IsZero() {
			end = float64(one.Expires.Unix())
		}
		to <- prometheus.MustNewConstMetric(o.expires, prometheus.GaugeValue, end, one.Name, string(one.Role))
	}
}
