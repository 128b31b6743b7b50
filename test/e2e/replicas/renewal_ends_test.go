package replicas

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// What is given or ended at one athd holds at the other, from its next answer on.
//
// proves: T-8, V-1, V-4, V-6, A-5
func TestAStandingConsentHoldsAndEndsOnEachReplica(t *testing.T) {
	server := realredis.Start(t)
	p := newPair(t, store{
		yaml: `url: "` + server.URL() + `", timeout: 900ms`, settings: tokenstore.Config{URL: server.URL()}, tokens: "renewal: {max: 90d, idle: 30d}",
	})
	p.provider.refresh, p.provider.many = true, true
	ctx, c := t.Context(), &contest{t: t}
	renew := func(at int, a *actor, renewal string) reply {
		return p.renew(ctx, p.direct[at], a, p.attest(a, "/ath/token"), renewal)
	}
	ended := func(t *testing.T, what string, r reply) {
		t.Helper()
		if r.status != http.StatusUnauthorized && r.status != http.StatusForbidden {
			t.Errorf("%s: %d %v %v", what, r.status, r.body, r.err)
		}
	}
	t.Run("T-8: given at one, used at the other, and good at Envoy's", func(t *testing.T) {
		a, renewal := p.stands(ctx)
		for at := range p.direct {
			c.must(p.call(ctx, a, c.must(renew(at, a, renewal), http.StatusOK).text("access_token")), http.StatusOK)
		}
	})
	t.Run("A-5: an attestation that was used at one is refused at the other", func(t *testing.T) {
		a, renewal := p.stands(ctx)
		attestation := p.attest(a, "/ath/token")
		c.must(p.renew(ctx, p.direct[0], a, attestation, renewal), http.StatusOK)
		if r := p.renew(ctx, p.direct[1], a, attestation, renewal); r.status != http.StatusUnauthorized || r.code != "INVALID_ATTESTATION" {
			t.Errorf("%d %v", r.status, r.body)
		}
	})
	for name, end := range map[string]func(a *actor, renewal, token string) reply{
		"V-1: it is revoked": func(a *actor, renewal, _ string) reply { return p.revoke(ctx, p.direct[0], a, renewal) },
		"V-1: one of its tokens is revoked": func(a *actor, _, token string) reply {
			return p.revoke(ctx, p.direct[0], a, token)
		},
		"R-6: its agent is suspended": func(a *actor, _, _ string) reply { return p.operate(ctx, p.direct[0], "POST", a, "/suspend") },
		"R-7: its agent is removed":   func(a *actor, _, _ string) reply { return p.operate(ctx, p.direct[0], "DELETE", a, "") },
		"O-1: its connection is ended": func(a *actor, _, _ string) reply {
			return c.endConnection(ctx, p, a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, renewal := p.stands(ctx)
			token := c.must(renew(1, a, renewal), http.StatusOK).text("access_token")
			c.must(p.call(ctx, a, token), http.StatusOK)
			c.must(end(a, renewal, token), http.StatusOK)
			ended(t, "V-6: a renewal at the other", renew(1, a, renewal))
			ended(t, "V-4: a call", p.call(ctx, a, token))
		})
	}
	t.Run("V-6: no token that came meanwhile outlives its end", func(t *testing.T) {
		for range 5 {
			a, renewal := p.stands(ctx)
			var all sync.WaitGroup
			replies := make([]reply, 12)
			for i := range replies {
				all.Go(func() { replies[i] = renew(i%2, a, renewal) })
			}
			all.Go(func() { c.must(p.revoke(ctx, p.direct[1], a, renewal), http.StatusOK) })
			all.Wait()
			for _, r := range replies {
				switch {
				case r.status == http.StatusOK:
					ended(t, "a call", p.call(ctx, a, r.text("access_token")))
				case r.status != http.StatusUnauthorized || r.code != "TOKEN_REVOKED":
					t.Errorf("%d %v %v", r.status, r.body, r.err)
				}
			}
		}
	})
}

// endConnection ends an agent's connection at the first athd, as an operator does.
func (c *contest) endConnection(ctx context.Context, p *pair, a *actor) reply {
	c.t.Helper()
	header := http.Header{"X-Ath-User-Token": {stage.AdminKey}}
	list := c.must(p.send(ctx, "GET", p.direct[0]+"/ath/admin/connections?agent="+url.QueryEscape(a.ID()), nil, header), http.StatusOK)
	all, _ := list.body["connections"].([]any)
	if len(all) != 1 {
		c.t.Fatalf("%v", list.body)
	}
	id, _ := all[0].(map[string]any)["connection_id"].(string)
	return p.send(ctx, "POST", p.direct[0]+"/ath/admin/connections/"+id+"/end", nil, header)
}
