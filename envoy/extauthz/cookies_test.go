package extauthz

import (
	"slices"
	"testing"

	"github.com/athd/athd/envoy"
)

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
