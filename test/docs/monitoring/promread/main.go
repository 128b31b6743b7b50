// Promread reads what Prometheus will be given, with Prometheus' own parsers:
// a file of rules, and expressions of dashboards. It also says which alerts fire
// while certain series are there. It is a module of its own so that athd's go.mod
// stays free of Prometheus' server.
//
//	echo '{"rules": "groups: …", "expressions": ["sum(up)"]}' | go run .
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

type input struct {
	Rules       string   `json:"rules"`
	Expressions []string `json:"expressions"`

	// Trials is by name what Prometheus has scraped, as its tests of rules write
	// series: 'up{job="athd"} 1x10 0x5', with a value a minute.
	Trials map[string][]string `json:"trials"`
}

type output struct {
	Errors    []string   `json:"errors"`
	Alerts    []alert    `json:"alerts"`
	Selectors []selector `json:"selectors"`

	Fired map[string][]string `json:"fired"` // by trial: the alerts
}

type alert struct {
	Name        string            `json:"name"`
	Expression  string            `json:"expression"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// A selector is one place where an expression names a metric.
type selector struct {
	Expression string    `json:"expression"`
	Metric     string    `json:"metric"`
	Matchers   []matcher `json:"matchers"`
	Groups     []string  `json:"groups"` // labels that the expression groups by
}

type matcher struct {
	Name, Type, Value string
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "promread:", err)
		os.Exit(1)
	}
}

func run(r io.Reader, w io.Writer) error {
	var in input
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return err
	}
	out := output{Errors: []string{}}
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.Parse([]byte(in.Rules), false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		out.Errors = append(out.Errors, err.Error())
	}
	expressions := in.Expressions
	if groups != nil {
		for _, g := range groups.Groups {
			for _, rule := range g.Rules {
				out.Alerts = append(out.Alerts, alert{rule.Alert, rule.Expr, rule.Labels, rule.Annotations})
				if len(errs) == 0 { // else it has been told already
					expressions = append(expressions, rule.Expr)
				}
			}
		}
	}
	for _, text := range expressions {
		e, err := p.ParseExpr(text)
		if err != nil {
			out.Errors = append(out.Errors, fmt.Sprintf("%s: %v", text, err))
			continue
		}
		out.Selectors = append(out.Selectors, selectors(text, e)...)
	}
	if len(errs) == 0 {
		out.Fired = map[string][]string{}
		for name, series := range in.Trials {
			alerts, err := fired(p, groups, series)
			if err != nil {
				out.Errors = append(out.Errors, fmt.Sprintf("%s: %v", name, err))
			}
			out.Fired[name] = alerts
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func selectors(text string, e parser.Expr) []selector {
	var all []selector
	var groups []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			groups = append(groups, n.Grouping...)
		case *parser.VectorSelector:
			s := selector{Expression: text, Metric: n.Name}
			for _, m := range n.LabelMatchers {
				if m.Name != labels.MetricName {
					s.Matchers = append(s.Matchers, matcher{m.Name, m.Type.String(), m.Value})
				}
			}
			all = append(all, s)
		}
		return nil
	})
	for i := range all {
		all[i].Groups = groups
	}
	return all
}
