package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// step is between two samples of a trial, and between two looks at the rules.
const step = time.Minute

// fired returns which alerts fire, in the order of the file, while these series are
// what Prometheus has: each in the form of promtool's tests, a value a minute.
func fired(p parser.Parser, groups *rulefmt.RuleGroups, series []string) ([]string, error) {
	var db memory
	for _, text := range series {
		of, values, err := p.ParseSeriesDesc(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		s := promql.Series{Metric: of}
		for i, v := range values {
			if !v.Omitted {
				s.Floats = append(s.Floats, promql.FPoint{T: int64(i) * step.Milliseconds(), F: v.Value})
			}
		}
		db.series, db.steps = append(db.series, s), max(db.steps, len(values)-1)
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: p})
	defer engine.Close()
	names := []string{}
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			held, err := db.longest(engine, rule.Expr)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rule.Alert, err)
			}
			if held >= 0 && held >= time.Duration(rule.For) {
				names = append(names, rule.Alert)
			}
		}
	}
	return names, nil
}

// memory is a storage of a few series, which goes on for so many steps.
type memory struct {
	series []promql.Series
	steps  int
}

// longest returns for how long the expression has held for one set of labels without
// a break; it is negative where it never has.
func (m *memory) longest(engine *promql.Engine, expression string) (time.Duration, error) {
	ctx := context.Background()
	end := time.UnixMilli(0).Add(time.Duration(m.steps) * step)
	q, err := engine.NewRangeQuery(ctx, m, nil, expression, time.UnixMilli(0), end, step)
	if err != nil {
		return 0, err
	}
	defer q.Close()
	matrix, err := q.Exec(ctx).Matrix()
	if err != nil {
		return 0, err
	}
	best := -step
	for _, s := range matrix {
		began := int64(0)
		for i, p := range s.Floats {
			if i == 0 || p.T-s.Floats[i-1].T > step.Milliseconds() {
				began = p.T
			}
			best = max(best, time.Duration(p.T-began)*time.Millisecond)
		}
	}
	return best, nil
}

// Querier implements [storage.Queryable]. The engine leaves out what is out of its
// time by itself.
func (m *memory) Querier(_, _ int64) (storage.Querier, error) { return m, nil }

func (m *memory) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{at: -1}
	for _, s := range m.series {
		if !slices.ContainsFunc(matchers, func(l *labels.Matcher) bool { return !l.Matches(s.Metric.Get(l.Name)) }) {
			set.series = append(set.series, promql.NewStorageSeries(s))
		}
	}
	return set
}

func (*memory) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*memory) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*memory) Close() error { return nil }

type seriesSet struct {
	series []*promql.StorageSeries
	at     int
}

func (s *seriesSet) Next() bool                      { s.at++; return s.at < len(s.series) }
func (s *seriesSet) At() storage.Series              { return s.series[s.at] }
func (*seriesSet) Err() error                        { return nil }
func (*seriesSet) Warnings() annotations.Annotations { return nil }
