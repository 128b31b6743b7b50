package replicas

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// TestRightsAreTakenAwayWhenRedisIsFull fills a redis-server and holds that
// operators and agents can end everything within a second all the same, that
// nothing new is given, and that /readyz says what cannot be done.
// S-2, N-3
func TestRightsAreTakenAwayWhenRedisIsFull(t *testing.T) {
	server := realredis.Start(t)
	url := fmt.Sprintf("url: %q, timeout: 900ms", server.URL())
	p := newPair(t, store{yaml: url, settings: tokenstore.Config{URL: server.URL()}})
	ctx, raw := t.Context(), server.Client()
	with := &contest{t: t}
	exchanged := func() session {
		s := with.consented(p)
		s.code = with.must(p.token(ctx, p.direct[0], s.actor, p.attest(s.actor, "/ath/token"), s.id, s.code), http.StatusOK).text("access_token")
		with.must(p.call(ctx, s.actor, s.code), http.StatusOK)
		return s
	}
	steps := []struct {
		name string
		end  func(session) reply
		session
	}{
		{name: "an agent revokes its token", end: func(s session) reply { return p.revoke(ctx, p.direct[0], s.actor, s.code) }},
		{name: "an operator revokes a token", end: func(s session) reply {
			return p.send(ctx, "POST", p.direct[1]+"/ath/revoke", map[string]any{"token": s.code}, http.Header{"Authorization": {"Bearer " + stage.AdminKey}})
		}},
		{name: "an operator suspends an agent", end: func(s session) reply { return p.operate(ctx, p.direct[0], "POST", s.actor, "/suspend") }},
		{name: "an operator denies a scope", end: func(s session) reply {
			return p.send(ctx, "POST", p.direct[0]+"/ath/admin/agents/"+s.clientID+"/deny", map[string]any{
				"providers": []any{map[string]any{"provider_id": "shop", "scopes": []string{"products:read"}}}, "reason": strings.Repeat("r", 200),
			}, http.Header{"Authorization": {"Bearer " + stage.AdminKey}})
		}},
		{name: "an operator removes an agent", end: func(s session) reply { return p.operate(ctx, p.direct[1], "DELETE", s.actor, "") }},
		{name: "an agent removes itself by its secret", end: func(s session) reply { return p.leave(ctx, p.direct[1], s.actor) }},
		{name: "an agent removes itself by an attestation", end: func(s session) reply {
			return p.send(ctx, "DELETE", p.direct[0]+"/ath/agents/"+s.clientID, nil, http.Header{"Authorization": {"Bearer " + p.attest(s.actor, "/ath/agents/"+s.clientID)}})
		}},
	}
	for i := range steps {
		steps[i].session = exchanged()
	}
	bystander, waiting, asking := exchanged(), with.consented(p), with.authorized(p)
	if err := raw.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			if r := s.end(s.session); r.status != http.StatusOK { // no answer within the client's 5 s is none
				t.Fatalf("it is answered with %d %s %v after %v", r.status, r.code, r.err, r.took)
			}
			p.calls(t, s.session, http.StatusUnauthorized, http.StatusForbidden)
		})
	}
	t.Run("nothing is given", func(t *testing.T) {
		for name, r := range map[string]reply{
			"a token":     p.token(ctx, p.direct[0], waiting.actor, p.attest(waiting.actor, "/ath/token"), waiting.id, waiting.code),
			"a consent":   p.callback(ctx, p.direct[1], asking.allowed()),
			"a session":   p.authorize(ctx, p.direct[0], waiting.actor, p.attest(waiting.actor, "")),
			"to register": second(p.registered(ctx, p.direct[1])),
		} {
			if r.status/100 == 2 || codeOf(r) != "" {
				t.Errorf("%s is answered with %d", name, r.status)
			}
		}
	})
	t.Run("who has a token goes on", func(t *testing.T) { p.calls(t, bystander, http.StatusOK) })
	t.Run("readiness says what cannot be done", func(t *testing.T) {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			status, body := p.Athd[0].Get("/readyz")
			var r struct {
				Checks map[string]struct {
					OK    bool
					Error string
				}
				Warnings []string
			}
			if err := json.Unmarshal([]byte(body), &r); err != nil {
				t.Fatal(err)
			}
			writes := r.Checks["store_writes"]
			if status == http.StatusOK && r.Checks["store"].OK && !writes.OK && strings.Contains(writes.Error, "memory is full") &&
				strings.Contains(strings.Join(r.Warnings, "\n"), "takes no writes") {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("it says %d %s", status, body)
			}
		}
	})
}

func second[A, B any](_ A, b B) B { return b }

// TestASessionThatIsPutBackGivesNoSecondToken plays somebody who can write to
// Redis: what session and connection were before their token was revoked is
// put back, byte for byte, and the code is sent again.
// S-12
func TestASessionThatIsPutBackGivesNoSecondToken(t *testing.T) {
	server := realredis.Start(t)
	p := newPair(t, store{yaml: fmt.Sprintf("url: %q, timeout: 2s", server.URL()), settings: tokenstore.Config{URL: server.URL()}})
	ctx, raw := t.Context(), server.Client()
	with := &contest{t: t}
	s := with.consented(p)
	before := map[string]string{}
	for key := range server.Dump(t) {
		if strings.HasSuffix(key, ":session") || strings.HasSuffix(key, ":conn") {
			if before[key] = raw.Dump(ctx, key).Val(); before[key] == "" {
				t.Fatalf("%s is gone", key)
			}
		}
	}
	if len(before) != 2 {
		t.Fatalf("the session left %d records", len(before))
	}
	putBack := func() {
		for key, value := range before {
			if err := raw.RestoreReplace(ctx, key, time.Hour, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	exchange := func(code string) reply {
		return p.token(ctx, p.direct[1], s.actor, p.attest(s.actor, "/ath/token"), s.id, code)
	}
	token := with.must(exchange(s.code), http.StatusOK).text("access_token")
	with.must(p.revoke(ctx, p.direct[0], s.actor, token), http.StatusOK)
	putBack()
	r := exchange(s.code)
	if r.status != http.StatusBadRequest || r.code != "SESSION_NOT_FOUND" {
		t.Errorf("the session gives again: %d %s", r.status, r.code)
	}
	for key := range server.Dump(t) {
		if strings.HasSuffix(key, ":grants") {
			t.Errorf("a grant is live at %s", key)
		}
	}
	t.Run("nor does one that was guessed at too often", func(t *testing.T) {
		s = with.consented(p)
		clear(before)
		for key := range server.Dump(t) {
			if strings.HasSuffix(key, ":session") || strings.HasSuffix(key, ":conn") {
				if before[key] = raw.Dump(ctx, key).Val(); before[key] == "" {
					t.Fatalf("%s is gone", key)
				}
			}
		}
		for range 5 {
			exchange("ath_code_" + strings.Repeat("x", 43))
		}
		putBack()
		if r := exchange(s.code); r.status == http.StatusOK {
			t.Error("the session gives a token")
		}
	})
}
