package exchange

import (
	"context"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/canary"
	"github.com/athd/athd/envoy"
)

func TestOnlyACallThatSaysWhatItHoldsIsSentAgainWithAnotherToken(t *testing.T) {
	token := ath.NewToken(ath.NewTag())
	held := authz.Held{
		Tag: token.Tag(), Grant: token.Digest(), Agent: "https://agents.example/a.json", Provider: "shop", Scope: "products:read", Rules: 1,
		Until: time.Now().Add(time.Hour).Truncate(time.Millisecond), Credential: ath.FingerprintOf(ath.NewSecret("old")),
	}
	said := func(change ...func(map[string]string)) map[string]string {
		m := map[string]string{envoy.MetaHeld: held.Text(), envoy.MetaRetry: "true", envoy.MetaAllow: "true"}
		for _, f := range change {
			f(m)
		}
		return m
	}
	for name, tt := range map[string]struct {
		phase    Phase
		metadata map[string]string
		gives    string
		asks     int
		want     string
	}{
		"the second try":                  {RequestHeaders, said(), "Bearer new-token", 1, "Bearer new-token"},
		"no other token":                  {RequestHeaders, said(), "", 1, ""},
		"a token that no header may hold": {RequestHeaders, said(), "Bearer a\r\nx: y", 1, ""},
		"a 401 that is only observed":     {ResponseHeaders, said(), "Bearer new", 1, ""},
		"trailers":                        {ResponseTrailers, said(), "Bearer new", 0, ""},
		"a person's call":                 {RequestHeaders, map[string]string{envoy.MetaAllow: "true"}, "Bearer new", 0, ""},
		"a call of a provider without it": {RequestHeaders, said(func(m map[string]string) { delete(m, envoy.MetaRetry) }), "Bearer new", 0, ""},
		"a call that says nothing":        {RequestHeaders, said(func(m map[string]string) { delete(m, envoy.MetaHeld) }), "Bearer new", 0, ""},
		"a call that says something else": {RequestHeaders, said(func(m map[string]string) { m[envoy.MetaHeld] += " x" }), "Bearer new", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			asks := 0
			role := Retry{Rejected: func(_ context.Context, got authz.Held) ath.Secret {
				if asks++; got != held {
					t.Errorf("%+v", got)
				}
				return ath.NewSecret(tt.gives)
			}}
			h := role.Open(&Stream{Roles: []string{envoy.RoleRetry}})
			defer h.Close()
			r, err := h.Hear(t.Context(), &Message{Phase: tt.phase, Metadata: tt.metadata})
			if err != nil || asks != tt.asks || r.Refusal != nil || len(r.Remove)+len(r.Add)+len(r.Metadata) > 0 {
				t.Fatalf("%+v, %v, asked %d times", r, err, asks)
			}
			switch {
			case tt.want == "" && len(r.Set) > 0:
				t.Error("it sets a header")
			case tt.want != "" && (len(r.Set) != 1 || r.Set[0] != [2]string{"authorization", tt.want}):
				t.Errorf("%v", r.Set)
			case tt.want == "" && r.Sent != "", tt.want != "" && r.Sent != canary.Of(ath.NewSecret("new-token")).Text():
				t.Errorf("it says %q of what it sends", r.Sent)
			}
		})
	}
}

func TestOnlyTheRetryMayBeObserved(t *testing.T) {
	for roles, want := range map[string]bool{"retry": true, "judge": false, "judge,retry": false, "watch": false, "retry,reply": false, "": false} {
		s, err := NewStream(map[string][]string{envoy.StreamRole: {roles}}, []string{envoy.RoleJudge})
		if err != nil {
			t.Fatal(err)
		}
		if s.MayObserve() != want {
			t.Errorf("%q: %v", roles, s.MayObserve())
		}
	}
}
