package replicas

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// renew asks for a token by a renewal (T-8).
func (p *pair) renew(ctx context.Context, base string, a *actor, attestation, renewal string) reply {
	return p.send(ctx, "POST", base+"/ath/token", map[string]any{
		"grant_type": "refresh_token", "client_id": a.clientID, "client_secret": a.secret, "agent_attestation": attestation, "refresh_token": renewal,
	}, nil)
}

// stands takes a user through athd's page, which says that the consent stands, and
// returns the agent and its renewal.
func (p *pair) stands(ctx context.Context) (a *actor, renewal string) {
	p.t.Helper()
	a, r := p.registered(ctx, p.direct[0])
	if r.status != http.StatusCreated {
		p.t.Fatalf("register: %d %s %v", r.status, r.code, r.err)
	}
	asked := p.authorize(ctx, p.direct[0], a, p.attest(a, ""))
	b := browser.New()
	defer b.Close()
	b.StopAt(func(u *url.URL) bool { return u.Path == "/authorize" }) // the provider's
	page, err := b.Get(ctx, asked.text("authorization_url"))
	if err == nil {
		page, err = b.Submit(ctx, page.Form().Click("Allow"))
	}
	if err != nil || !page.Stopped {
		p.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	state := page.URL.Query().Get("state")
	b.StopAt(func(u *url.URL) bool { return strings.HasPrefix(u.String(), callbackURI) })
	if page, err = b.Get(ctx, p.public+"/ath/callback?"+url.Values{"code": {"any"}, "state": {state}}.Encode()); err != nil || !page.Stopped {
		p.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	got := p.token(ctx, p.direct[1], a, p.attest(a, "/ath/token"), asked.text("ath_session_id"), page.URL.Query().Get("code"))
	if renewal = got.text("refresh_token"); got.status != http.StatusOK || renewal == "" {
		p.t.Fatalf("token: %d %s %v", got.status, got.code, got.err)
	}
	return a, renewal
}

// Several processes of an agent share one renewal, and do not wait for each other:
// whichever athd they ask, at once, each gets a token of its own.
//
// proves: T-8
func TestSixteenRenewalsAtOnceOnFourReplicas(t *testing.T) {
	const sixteen = 16
	redis := realredis.Start(t)
	p := newPair(t, store{
		yaml: `url: "` + redis.URL() + `", timeout: 900ms`, settings: tokenstore.Config{URL: redis.URL()}, tokens: "ttl: 30s, renewal: {max: 10m, idle: 32s}",
	})
	p.provider.refresh = true
	replicas := []string{p.direct[0], p.direct[1], p.beside(), p.beside()}
	ctx := t.Context()
	a, renewal := p.stands(ctx)
	at := func(attest func() string) (all []reply) {
		replies := make([]reply, sixteen)
		attestations := make([]string, sixteen)
		for i := range attestations {
			attestations[i] = attest()
		}
		var ready, ended sync.WaitGroup
		ready.Add(1)
		for i := range sixteen {
			ended.Go(func() {
				ready.Wait()
				replies[i] = p.renew(ctx, replicas[i%len(replicas)], a, attestations[i], renewal)
			})
		}
		ready.Done()
		ended.Wait()
		return replies
	}
	came := time.Now()
	for _, round := range []string{"used a moment ago", "to be written down as used"} {
		if round != "used a moment ago" { // a use is written down where the last is a part of idle ago
			time.Sleep(time.Until(came.Add(1500 * time.Millisecond)))
		}
		began := time.Now()
		replies := at(func() string { return p.attest(a, "/ath/token") })
		took := time.Since(began)
		tokens := map[string]bool{}
		var each []time.Duration
		for i, r := range replies {
			if r.status != http.StatusOK {
				t.Errorf("%s, renewal %d: %d %s %v", round, i, r.status, r.code, r.err)
				continue
			}
			each = append(each, r.took)
			token := r.text("access_token")
			tokens[token] = true
			if call := p.call(ctx, a, token); call.status != http.StatusOK {
				t.Errorf("%s, a call with token %d: %d %s", round, i, call.status, call.code)
			}
		}
		if len(tokens) != sixteen {
			t.Fatalf("%s: %d tokens", round, len(tokens))
		}
		slices.Sort(each)
		t.Logf("%s: 16 renewals at once on 4 athd in %v: fastest %v, median %v, slowest %v",
			round, took.Round(time.Millisecond), each[0].Round(time.Millisecond), each[len(each)/2].Round(time.Millisecond), each[len(each)-1].Round(time.Millisecond))
	}
	same := p.attest(a, "/ath/token")
	codes := map[string]int{}
	for _, r := range at(func() string { return same }) {
		if r.status == http.StatusOK {
			codes["200"]++
		} else {
			codes[r.code]++
		}
	}
	if codes["200"] != 1 || len(codes) != 2 {
		t.Errorf("one attestation, sixteen times at once: %v", codes)
	}
	t.Logf("one attestation, sixteen times at once: %v", codes)
	// The renewal ends for all of them.
	if r := p.revoke(ctx, replicas[3], a, renewal); r.status != http.StatusOK {
		t.Fatalf("revoke: %d %s %v", r.status, r.code, r.err)
	}
	for _, r := range at(func() string { return p.attest(a, "/ath/token") }) {
		if r.status != http.StatusUnauthorized || r.code != "TOKEN_REVOKED" {
			t.Errorf("after its end: %d %s", r.status, r.code)
		}
	}
}
