package extauthz

import (
	"slices"
	"testing"

	"github.com/athd/athd/envoy"
)

// proves: P-5
func TestOurCookiesAreCutOutOfPeoples(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers []string
		cookie  string
		ours    bool
	}{
		{"none", nil, "", false},
		{"a person's only", []string{"session=1; theme=dark"}, "session=1; theme=dark", false},
		{"ours only", []string{"ath_consent_abc=x.s.y"}, "", true},
		{"ours on https", []string{"__Host-ath_consent_abc=x"}, "", true},
		{"ours first, last and between", []string{"ath_consent_a=1; a=b; ath_consent_b=2;c=d;ath_consent_c=3"}, "a=b; c=d", true},
		{"several headers", []string{"a=b", "ath_consent_a=1", "c=d"}, "a=b; c=d", true},
		{"several headers joined", []string{"a=b,ath_consent_a=1,c=d"}, "a=b,c=d", true},
		{"a comma in a value stays", []string{"a=1,2; ath_consent_a=1"}, "a=1,2", true},
		{"a name that only contains ours", []string{"xath_consent_a=1; my_ath_consent_=2"}, "xath_consent_a=1; my_ath_consent_=2", false},
		{"our name in a value", []string{"a=ath_consent_b"}, "a=ath_consent_b", false},
		{"no value", []string{"ath_consent_a; b"}, "b", true},
		{"bytes that no reply can carry", []string{"a=\xff; ath_consent_a=1; b=2"}, "b=2", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cookie, ours := foreignCookies(tt.headers)
			if cookie != tt.cookie || ours != tt.ours {
				t.Errorf("P-5: %q, %v, want %q, %v", cookie, ours, tt.cookie, tt.ours)
			}
		})
	}
}

// proves: P-5
func TestPeoplesRequestsGoOnAsTheyCame(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers []string
		set     map[string]string
		remove  []string
	}{
		{"bare", nil, nil, []string{"x-ath-agent-id"}},
		{"their own token and cookies", []string{"authorization", "Bearer eyJ.e30.x", "cookie", "a=b"}, nil, []string{"x-ath-agent-id"}},
		{"headers of ours", []string{"x-ath-agent-id", "https://a.example", "X-ATH-User-Token", "x"}, nil, []string{"x-ath-agent-id", "x-ath-user-token"}},
		{"a cookie of ours", []string{"cookie", "ath_consent_x=1"}, nil, []string{"cookie", "x-ath-agent-id"}},
		{"a cookie of ours among theirs", []string{"cookie", "a=b; ath_consent_x=1"}, map[string]string{"cookie": "a=b"}, []string{"x-ath-agent-id"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			response := w.check(w.checks(), w.ask(byPerson(tt.headers...)))
			mustHold(t, w, response)
			ok := response.GetOkResponse()
			if ok == nil {
				t.Fatalf("refused: %v", response)
			}
			set := map[string]string{}
			for _, h := range ok.Headers {
				set[h.Header.Key] = h.Header.Value
			}
			if len(set) != len(tt.set) || set["cookie"] != tt.set["cookie"] {
				t.Errorf("P-5: sets %v, want %v", set, tt.set)
			}
			if !slices.Equal(ok.HeadersToRemove, tt.remove) {
				t.Errorf("P-5: removes %v, want %v", ok.HeadersToRemove, tt.remove)
			}
			fields := response.DynamicMetadata.Fields
			if !fields[envoy.MetaAllow].GetBoolValue() || fields[envoy.MetaProvider].GetStringValue() != "site" {
				t.Errorf("the guard would refuse: %v", fields)
			}
		})
	}
}
