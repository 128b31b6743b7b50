package exchange

import "testing"

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
