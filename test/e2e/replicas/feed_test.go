package replicas

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// What is revoked at one athd reaches the other, though nobody asks it.
// proves: V-4
func TestRevocationsReachTheOtherAthd(t *testing.T) {
	server := realredis.Start(t)
	p := newPair(t, store{yaml: fmt.Sprintf("url: %q", server.URL()), settings: tokenstore.Config{URL: server.URL()}})
	ctx, with := t.Context(), &contest{t: t}
	shows := func(i int, line string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			_, text := p.Athd[i].Get("/metrics")
			if strings.Contains(text, "\n"+line+"\n") {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("athd %d does not show %q:\n%s", i, line, text)
			}
		}
	}
	for i := range p.Athd {
		shows(i, "athd_change_feed_notified 1")
		shows(i, `athd_change_feed_changes_total{kind="grant"} 0`)
	}
	s := with.consented(p)
	token := with.must(p.token(ctx, p.direct[0], s.actor, p.attest(s.actor, "/ath/token"), s.id, s.code), http.StatusOK).text("access_token")
	with.must(p.revoke(ctx, p.direct[0], s.actor, token), http.StatusOK)
	for i := range p.Athd {
		shows(i, `athd_change_feed_changes_total{kind="grant"} 1`)
		shows(i, `athd_change_feed_changes_total{kind="connection"} 1`)
	}
	with.must(p.operate(ctx, p.direct[1], "POST", s.actor, "/suspend"), http.StatusOK)
	for i := range p.Athd {
		shows(i, `athd_change_feed_changes_total{kind="agent"} 1`)
	}
}
