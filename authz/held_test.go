package authz

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/canary"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// ReadHeld answers as Read does.
func (s *stored) ReadHeld(ctx context.Context, tag ath.Tag, digest ath.Digest, agentID string) (tokenstore.Reading, error) {
	if tag != s.token.Tag() || digest != s.token.Digest() {
		return tokenstore.Reading{Agent: s.agents[agentID]}, s.err
	}
	return s.Read(ctx, s.token, agentID)
}

// holding returns a store, a decider on it, and what an allowed call there holds.
func holding(t *testing.T) (*stored, *Decider, Held) {
	t.Helper()
	s, r := good()
	s.grant.Renewal = ath.DigestOf("a renewal")
	d := newDecider(t, s, new(recorder))
	d.config.Held = s
	decision := d.Decide(t.Context(), r)
	if !decision.Allowed() {
		t.Fatal(decision.Reason())
	}
	return s, d, decision.Held()
}

// proves: V-4
func TestWhatAnAllowedCallHolds(t *testing.T) {
	s, d, held := holding(t)
	want := Held{
		Tag: s.token.Tag(), Grant: s.token.Digest(), Renewal: ath.DigestOf("a renewal"), Agent: agentID, Provider: "shop",
		Scope: "products:read", Until: s.grant.Expires, Credential: ath.FingerprintOf(ath.NewSecret(upstream)), Mark: canary.MarkOf(ath.NewSecret(upstream)),
		Rules: providers(t).Get("shop").RulesOf("products:read"),
	}
	if held != want || held.Rules == 0 {
		t.Errorf("%+v, want %+v", held, want)
	}
	got := d.Holds(t.Context(), held)
	if !got.Holds() || got.User != "user-1" || !got.Until.Equal(s.grant.Expires) {
		t.Errorf("%+v", got)
	}
	s.agents[agentID].ApprovalExpires = now.Add(time.Second)
	if got = d.Holds(t.Context(), held); !got.Until.Equal(now.Add(time.Second)) {
		t.Errorf("an approval that ends sooner: %v", got.Until)
	}
}

// What is refused or a person's holds nothing, nor does a zero value.
func TestNothingElseHolds(t *testing.T) {
	s, r := good()
	d := newDecider(t, s, new(recorder))
	r.Method = "DELETE"
	refused := d.Decide(t.Context(), r)
	_, whole, held := holding(t)
	for name, h := range map[string]Held{"a refusal": refused.Held(), "a zero decision": new(Decision).Held(), "a person's": (&Decision{ID: "dec_1", allow: true, reason: PassedThrough}).Held()} {
		if h != (Held{}) || h.Text() != "" {
			t.Errorf("%s holds %+v", name, h)
		}
		if got := whole.Holds(t.Context(), h); got.Holds() {
			t.Errorf("%s goes on", name)
		}
	}
	if got := d.Holds(t.Context(), held); got.Reason != InternalError {
		t.Errorf("nobody can be asked: %s", got.Reason)
	}
	if (Holding{}).Holds() {
		t.Error("a zero holding holds")
	}
}

// Whatever of the store has a request refused ends a call that goes on, by the same
// reason.
// proves: V-4, R-5, R-6, R-7, P-4, P-6
func TestACallLosesWhatARequestWouldMiss(t *testing.T) {
	tried := 0
	for _, c := range refusals() {
		_, fresh := good()
		s, d, held := holding(t)
		changed := fresh
		changed.Authorization = append([]string(nil), fresh.Authorization...)
		c.break_(s, &changed)
		if !reflect.DeepEqual(changed, fresh) || c.rule == "P-6 credential current" {
			continue // it is about a head, or about the age of what was forwarded with it
		}
		tried++
		t.Run(c.name, func(t *testing.T) {
			if got := d.Holds(t.Context(), held); got.Reason != c.reason || got.Holds() {
				t.Errorf("%+v, want %s", got, c.reason)
			}
		})
	}
	if tried < 15 {
		t.Errorf("only %d of the cases are about the store", tried)
	}
}

// A rule that is not asked again of a call that goes on is about the request's head,
// or about the upstream token's age, for which no reply is cut, or counts calls, of
// which it is one.
func TestRulesThatAreNotAskedAgainAreAboutTheHead(t *testing.T) {
	heads := map[string]bool{
		"people without a token": true, "P-7 method": true, "P-7 target": true, "P-5 no token in the query": true,
		"athd's own pages": true, "P-1 one well-formed token": true, "P-2 one agent id": true, "P-4 upgrade": true,
		"P-3 destination": true, "P-6 credential current": true, "calls per grant": true,
	}
	for _, rule := range allRules() {
		if heads[rule.id] != (rule.holds == nil) {
			t.Errorf("%s: asked again: %v", rule.id, rule.holds != nil)
		}
	}
}

// proves: P-3, P-4, O-2
func TestACallEndsByWhatTheOperatorChanges(t *testing.T) {
	shop := func(edit func(*provider.Provider)) *provider.Set {
		p := *providers(t).Get("shop")
		p.Rules = append([]provider.Rule(nil), p.Rules...)
		edit(&p)
		set, err := provider.NewSet(&p)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	empty, err := provider.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	deny := func(scope string) func(*Decider) {
		return func(d *Decider) {
			err := d.UsePolicy(approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Scopes: glob(t, scope), Action: approval.Deny}}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(set *provider.Set) func(*Decider) {
		return func(d *Decider) { d.config.Providers.Replace(set) }
	}
	for name, c := range map[string]struct {
		do   func(*Decider)
		want Reason
	}{
		"nothing":                            {func(*Decider) {}, Allowed},
		"the same provider once more":        {replace(shop(func(*provider.Provider) {})), Allowed},
		"another scope's rule":               {replace(shop(func(p *provider.Provider) { p.Rules = p.Rules[:3] })), Allowed},
		"a rule of the scope is gone":        {replace(shop(func(p *provider.Provider) { p.Rules = p.Rules[1:] })), ScopeMissing},
		"all rules of the scope are gone":    {replace(shop(func(p *provider.Provider) { p.Rules = p.Rules[3:] })), ScopeMissing},
		"the provider is gone":               {replace(empty), ProviderUnknown},
		"a run-time provider took its place": {replace(shop(func(p *provider.Provider) { p.Runtime = true })), ProviderUnknown},
		"it has another client":              {replace(shop(func(p *provider.Provider) { p.ClientID = "another" })), ReauthorizationRequired},
		"its metadata is not known yet":      {replace(shop(func(p *provider.Provider) { p.TokenURL = nil })), ProviderUnavailable},
		"a rule denies the scope":            {deny("products:*"), ScopeDenied},
		"a rule denies another scope":        {deny("orders:*"), Allowed},
	} {
		t.Run(name, func(t *testing.T) {
			_, d, held := holding(t)
			c.do(d)
			if got := d.Holds(t.Context(), held); got.Reason != c.want {
				t.Errorf("%s, want %s", got.Reason, c.want)
			}
		})
	}
}

// Where nothing says by which rules a call was allowed, nobody knows that they are the
// same.
// proves: P-4
func TestACallOfUnknownRulesDoesNotHold(t *testing.T) {
	_, d, held := holding(t)
	if held.Rules = 0; held.Text() != "" {
		t.Errorf("it is written: %q", held.Text())
	}
	if got := d.Holds(t.Context(), held); got.Reason != ScopeMissing {
		t.Errorf("%s, want %s", got.Reason, ScopeMissing)
	}
}

func TestHeldIsReadAsItWasWritten(t *testing.T) {
	_, _, held := holding(t)
	for name, edit := range map[string]func(*Held){
		"whole":                func(*Held) {},
		"without a renewal":    func(h *Held) { h.Renewal = ath.Digest{} },
		"of a run-time route":  func(h *Held) { h.Runtime = true },
		"with the longest id":  func(h *Held) { h.Agent = "https://a.example/" + strings.Repeat("x", 2048-18) },
		"without a credential": func(h *Held) { h.Credential = ath.Fingerprint{} },
		"of the least rules":   func(h *Held) { h.Rules = 1 },
		"of the most rules":    func(h *Held) { h.Rules = 1<<64 - 1 },
	} {
		h := held
		edit(&h)
		text := h.Text()
		back, err := ParseHeld(text)
		if err != nil || !back.Until.Equal(h.Until) {
			t.Fatalf("%s: %q: %v", name, text, err)
		}
		if back.Until = h.Until; back != h {
			t.Errorf("%s: %+v became %+v", name, h, back)
		}
	}
	for name, edit := range map[string]func(*Held){
		"no scope":         func(h *Held) { h.Scope = "" },
		"two scopes":       func(h *Held) { h.Scope = "a b" },
		"a comma in one":   func(h *Held) { h.Scope = "a,b" },
		"no agent":         func(h *Held) { h.Agent = "" },
		"too long an id":   func(h *Held) { h.Agent = strings.Repeat("x", 2049) },
		"a line break":     func(h *Held) { h.Agent = "https://a.example/\n" },
		"no tag":           func(h *Held) { h.Tag = "" },
		"no grant":         func(h *Held) { h.Grant = ath.Digest{} },
		"no end":           func(h *Held) { h.Until = time.Time{} },
		"no provider":      func(h *Held) { h.Provider = "" },
		"no such mark":     func(h *Held) { h.Mark = canary.Mark{Length: canary.MinLength - 1, Sum: 1} },
		"no such provider": func(h *Held) { h.Provider = strings.Repeat("x", 129) },
	} {
		h := held
		edit(&h)
		if text := h.Text(); text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// FuzzParseHeld wants that what is read is written again byte for byte.
func FuzzParseHeld(f *testing.F) {
	token := ath.NewToken(ath.NewTag())
	h := Held{Tag: token.Tag(), Grant: token.Digest(), Agent: agentID, Provider: "shop", Scope: "a:b", Rules: 1 << 60, Until: now}
	f.Add(h.Text())
	h.Renewal, h.Runtime, h.Mark = ath.DigestOf("r"), true, canary.MarkOf(ath.NewSecret(upstream))
	f.Add(h.Text())
	f.Add(strings.Replace(h.Text(), "1 ", "2 ", 1))
	f.Add(h.Text() + " x")
	f.Add(strings.Replace(h.Text(), " EAAAAAAAAAA ", " AAAAAAAAAAA ", 1))
	f.Add(strings.ReplaceAll(h.Text(), " ", "  "))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHeld(text)
		if err != nil {
			if !h.IsZero() {
				t.Errorf("%q is refused, and holds %+v", text, h)
			}
			return
		}
		if h.IsZero() || h.Scope == "" || h.Rules == 0 || h.Until.IsZero() || len(text) > MaxHeld {
			t.Errorf("%q: %+v", text, h)
		}
		if back := h.Text(); back != text {
			t.Errorf("%q was read, and is written %q", text, back)
		}
	})
}

// It is written for each call that may be watched.
func TestHeldIsWrittenAtOnce(t *testing.T) {
	_, _, held := holding(t)
	if got := testing.AllocsPerRun(100, func() { held.Text() }); got > 2 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkHeld(b *testing.B) {
	s, r := good()
	d := newDecider(b, s, new(recorder))
	decision := d.Decide(b.Context(), r)
	b.ReportAllocs()
	for b.Loop() {
		if h := decision.Held(); h.Text() == "" {
			b.Fatal("nothing is held")
		}
	}
}
