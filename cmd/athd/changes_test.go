package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// The feed says how it does, and makes nobody unready: no decision waits for it.
func TestReadinessSaysHowTheChangeFeedDoes(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		feed    tokenstore.Feed
		want    []string
		unsaid  string
		healthy bool
	}{
		"notified": {tokenstore.Feed{Generation: 7, Notified: true, Current: now},
			[]string{`"mode": "notify"`, `"generation": 7`, `"lag_seconds": 0`}, "subscribe", true},
		"forbidden": {tokenstore.Feed{Generation: 7, Forbidden: true, Current: now},
			[]string{`"mode": "compare"`, "+publish +subscribe &ath:*"}, "could not be asked", true},
		"behind": {tokenstore.Feed{Generation: 7, Current: now.Add(-time.Minute)},
			[]string{`"lag_seconds": 60`, "could not be asked"}, "subscribe", false},
		"never asked": {tokenstore.Feed{}, []string{`"mode": "compare"`, "could not be asked"}, "lag_seconds", false},
	} {
		r := serving()
		r.feed = func() tokenstore.Feed { return c.feed }
		w := httptest.NewRecorder()
		r.serveHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		body := w.Body.String()
		if w.Code != 200 || strings.Contains(body, c.unsaid) {
			t.Errorf("%s: %d %s", name, w.Code, body)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %q is not in %s", name, want, body)
			}
		}
		if got := feedCheck(c.feed).OK; got != c.healthy {
			t.Errorf("%s: the check is %v", name, got)
		}
	}
}

func TestMetricsSayHowTheChangeFeedDoes(t *testing.T) {
	m := newMetrics(provider.NewProviders(&provider.Set{}))
	feed := tokenstore.Feed{Generation: 7, Notified: true, Current: time.Now().Add(-time.Minute), Unwritten: 3}
	m.showFeed(func() tokenstore.Feed { return feed })
	show := func() string {
		w := httptest.NewRecorder()
		m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	text := show()
	for _, want := range []string{
		"\nathd_change_feed_lag_seconds 60.", "\nathd_change_feed_notified 1\n", "\nathd_change_feed_generation 7\n", "\nathd_change_feed_unwritten 3\n",
		"\nathd_change_feed_changes_total{kind=\"grant\"} 0\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	feed = tokenstore.Feed{}
	if text := show(); !strings.Contains(text, "\nathd_change_feed_notified 0\n") || !strings.Contains(text, "\nathd_change_feed_lag_seconds 0.") {
		t.Errorf("of a feed that was never read: %s", text)
	}
}
