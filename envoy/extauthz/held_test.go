package extauthz

import (
	"context"
	"strings"
	"testing"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// What a call holds is said of an agent's that is allowed, and of nothing else. Where
// it cannot be said nobody could end the call: it is refused.
// proves: V-4
func TestAnAllowSaysWhatTheCallHolds(t *testing.T) {
	holding := func(w *world, decide func(context.Context, authz.Request) authz.Decision) *Checks {
		j, err := exchange.NewJudge(exchange.Config{Decide: decide, Held: true, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		return New(j)
	}
	w := newWorld(t)
	r := w.check(holding(w, w.decider().Decide), w.ask())
	text := r.GetDynamicMetadata().GetFields()[envoy.MetaHeld].GetStringValue()
	h, err := authz.ParseHeld(text)
	if err != nil || h.Grant != w.token.Digest() || h.Agent != agentID || h.Scope != "products:read" || h.Provider != apiProvider {
		t.Errorf("%q: %+v, %v", text, h, err)
	}
	for _, secret := range []string{w.token.Secret().Reveal(), userToken} {
		if strings.Contains(r.String()[strings.Index(r.String(), "dynamic_metadata"):], secret) {
			t.Error("the metadata holds a secret")
		}
	}
	none := func(name string, c *Checks, edits ...func(*world)) {
		t.Helper()
		for _, edit := range edits {
			edit(w)
		}
		if got := w.check(c, w.ask()); got.GetDynamicMetadata().GetFields()[envoy.MetaHeld] != nil {
			t.Errorf("%s says what it holds", name)
		}
	}
	none("an athd that watches nothing", w.checks())
	none("a refusal", holding(w, w.decider().Decide), func(w *world) { w.reading.Grant.Revoked = w.now })
	person := w.check(holding(w, w.decider().Decide), w.ask(byPerson()))
	if person.GetOkResponse() == nil || person.GetDynamicMetadata().GetFields()[envoy.MetaHeld] != nil {
		t.Errorf("a person's: %v", person)
	}

	odd := newWorld(t)
	unsayable := func(ctx context.Context, r authz.Request) authz.Decision {
		d := odd.decider().Decide(ctx, r)
		d.Scope = "two words"
		return d
	}
	if got := odd.check(holding(odd, unsayable), odd.ask()); got.GetDeniedResponse() == nil {
		t.Error("what nobody can be told of is allowed")
	}
	if got := odd.check(checksOf(t, unsayable), odd.ask()); got.GetOkResponse() == nil {
		t.Error("it is refused where nobody is told")
	}
}
