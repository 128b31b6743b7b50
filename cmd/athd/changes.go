package main

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/tokenstore"
)

// feedBehind is how old the change feed may be before /readyz says so. It is
// compared each second.
const feedBehind = 5 * time.Second

// feedCheck is what /readyz says of the change feed. It makes nobody unready:
// every decision reads the store.
func feedCheck(f tokenstore.Feed) api.ReadinessCheck {
	c := api.ReadinessCheck{OK: !f.Current.IsZero() && time.Since(f.Current) < feedBehind, Mode: "compare", Generation: &f.Generation}
	if f.Notified {
		c.Mode = "notify"
	}
	if !f.Current.IsZero() {
		lag := math.Round(time.Since(f.Current).Seconds()*1000) / 1000
		c.LagSeconds = &lag
	}
	if !c.OK {
		c.Error = "the store could not be asked lately what other athd changed"
	}
	return c
}

// feedWarnings tells what keeps changes from being told at once.
func feedWarnings(f tokenstore.Feed) []string {
	if !f.Forbidden {
		return nil
	}
	return []string{"the store's user may not publish and subscribe: what other athd change is known here within a second, not at once (allow +publish +subscribe &ath:*)"}
}

// showFeed exports how the change feed does, and counts what comes by it.
func (m *metrics) showFeed(feed func() tokenstore.Feed) {
	began := time.Now()
	for name, part := range map[string]struct {
		help string
		of   func(tokenstore.Feed) float64
	}{
		"athd_change_feed_lag_seconds": {
			"How long ago everything was known that any athd had revoked or changed. About a second at most.",
			func(f tokenstore.Feed) float64 {
				if f.Current.IsZero() {
					f.Current = began
				}
				return time.Since(f.Current).Seconds()
			},
		},
		"athd_change_feed_notified": {
			"1 while Redis notifies of changes. 0: they are found by comparing, each second.",
			func(f tokenstore.Feed) float64 {
				if f.Notified {
					return 1
				}
				return 0
			},
		},
		"athd_change_feed_generation": {
			"Number of the last change that was seen. It begins again where Redis was emptied or lost writes.",
			func(f tokenstore.Feed) float64 { return float64(f.Generation) },
		},
		"athd_change_feed_unwritten": {
			"Changes of this athd that others cannot find yet. They are written until it succeeds.",
			func(f tokenstore.Feed) float64 { return float64(f.Unwritten) },
		},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: part.help},
			func() float64 { return part.of(feed()) }))
	}
	for _, kind := range tokenstore.ChangeKinds() {
		m.changes.WithLabelValues(string(kind))
	}
}

// countChanges counts what comes by the change feed, until ctx ends.
func countChanges(ctx context.Context, w *tokenstore.Watch, m *metrics, log *slog.Logger) {
	known := tokenstore.ChangeKinds()
	for {
		c, err := w.Next(ctx)
		if err != nil {
			return
		}
		kind := "other"
		if slices.Contains(known, c.Kind) {
			kind = string(c.Kind)
		}
		m.changes.WithLabelValues(kind).Inc()
		log.DebugContext(ctx, "change", "kind", kind, "generation", c.Generation, "tag", string(c.Tag))
	}
}
