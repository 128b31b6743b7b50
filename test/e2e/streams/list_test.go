package streams

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/streams"
)

// Operators see what is open at the athd that answers, until it ends.
func TestOperatorsSeeWhatIsOpen(t *testing.T) {
	w := newWorld(t, setup{envoy: watched[0].envoy})
	h, k := w.hold("two", time.Hour), streams.Find("events over HTTP/2")
	s := w.start(t, k, 0, h)
	w.start(t, k, 0, w.hold("two", time.Hour))
	list := func(at int, query string) (l api.StreamList) {
		t.Helper()
		status, answer, err := w.Operate(at, http.MethodGet, ath.AdminStreamsPath+query, nil)
		if err = stage.Done(status, answer, err); err == nil {
			err = json.Unmarshal([]byte(answer), &l)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(answer, h.user) {
			t.Errorf("it says who the user is: %s", answer)
		}
		return l
	}
	for _, tt := range []struct {
		at      int
		query   string
		all, in int
	}{
		{0, "", 2, 2}, {0, "?limit=1", 2, 1}, {1, "", 0, 0},
		{0, "?agent=" + url.QueryEscape(h.agent), 1, 1}, {0, "?agent=" + h.client, 1, 1},
	} {
		if l := list(tt.at, tt.query); !l.Watched || l.All != tt.all || len(l.Streams) != tt.in {
			t.Errorf("athd %d%s: %+v", tt.at, tt.query, l)
		}
	}
	for _, query := range []string{"?agent=", "?limit=0", "?limit=1001", "?limit=1&limit=2", "?user=" + h.user} {
		if status, answer, err := w.Operate(0, http.MethodGet, ath.AdminStreamsPath+query, nil); err != nil || status != http.StatusBadRequest {
			t.Errorf("%s: %d %s, %v", query, status, answer, err)
		}
	}
	of := "?agent=" + url.QueryEscape(h.agent)
	got := list(0, of).Streams[0]
	if since, err := time.Parse(time.RFC3339, got.Since); err != nil || time.Since(since) > time.Minute || time.Until(since) > time.Second {
		t.Errorf("since %q", got.Since)
	}
	if until, err := time.Parse(time.RFC3339, got.Expires); err != nil || until.Sub(h.expires).Abs() > time.Second {
		t.Errorf("until %q, want %v", got.Expires, h.expires)
	}
	got.Since, got.Expires = "", ""
	if want := (api.Stream{
		DecisionID: got.DecisionID, Agent: h.agent, Provider: "two", Scope: "streams:read", Connection: ath.NewConnectionID(h.connection).String(),
	}); got != want || !strings.HasPrefix(got.DecisionID, "dec_") {
		t.Errorf("%+v, want %+v", got, want)
	}
	if err := w.revoke(1, h, h.token.Secret()); err != nil {
		t.Fatal(err)
	}
	if _, ended := s.Wait(time.Now().Add(fault)); !ended {
		t.Fatal("it goes on")
	}
	if l := list(0, of); l.All != 0 || len(l.Streams) != 0 {
		t.Errorf("it has ended, and is listed: %+v", l)
	}
}
