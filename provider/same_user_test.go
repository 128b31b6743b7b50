package provider_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
)

// idToken is one whose signature nothing can prove.
func idToken(claims string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
}

// OpenID Connect Core, section 12.2.
//
// proves: T-7
func TestARefreshIsOfTheSameUser(t *testing.T) {
	const issuer = `"issuer": "https://login.example"`
	for name, tt := range map[string]struct {
		idToken string // as it stands in the reply
		more    string
		want    string // part of the error; "": the reply counts
	}{
		"no ID token":               {`""`, issuer, ""},
		"null":                      {`null`, issuer, ""},
		"the same":                  {`"` + idToken(`{"iss":"https://login.example","sub":"u1","aud":"the client"}`) + `"`, issuer, ""},
		"the same, for several":     {`"` + idToken(`{"iss":"https://login.example","sub":"u1","aud":["x","the client"],"azp":"the client"}`) + `"`, issuer, ""},
		"expired, as nobody asks":   {`"` + idToken(`{"iss":"https://login.example","sub":"u1","aud":"the client","exp":1}`) + `"`, issuer, ""},
		"another user":              {`"` + idToken(`{"iss":"https://login.example","sub":"u2","aud":"the client"}`) + `"`, issuer, "another user"},
		"nobody":                    {`"` + idToken(`{"iss":"https://login.example","aud":"the client"}`) + `"`, issuer, "another user"},
		"a user in another case":    {`"` + idToken(`{"iss":"https://login.example","sub":"U1","aud":"the client"}`) + `"`, issuer, "another user"},
		"another issuer":            {`"` + idToken(`{"iss":"https://evil.example","sub":"u1","aud":"the client"}`) + `"`, issuer, "another issuer"},
		"another client":            {`"` + idToken(`{"iss":"https://login.example","sub":"u1","aud":"x"}`) + `"`, issuer, "another client"},
		"no client":                 {`"` + idToken(`{"iss":"https://login.example","sub":"u1","aud":null}`) + `"`, issuer, "another client"},
		"another authorized party":  {`"` + idToken(`{"iss":"https://login.example","sub":"u1","aud":["x","the client"],"azp":"x"}`) + `"`, issuer, "another client"},
		"what is none":              {`"abc"`, issuer, "malformed"},
		"an object":                 {`{}`, issuer, "malformed"},
		"claims that are no object": {`"` + idToken(`[]`) + `"`, issuer, "malformed"},
		"Google's two names":        {`"` + idToken(`{"iss":"accounts.google.com","sub":"u1","aud":"the client"}`) + `"`, `"issuer": "https://accounts.google.com"`, ""},
		"no issuer is configured":   {`"` + idToken(`{"iss":"https://login.example","sub":"u2","aud":"x"}`) + `"`, `"user_id_field": "uid"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, _, err := refreshed(t, tt.more, `{"access_token":"x","token_type":"Bearer","id_token":`+tt.idToken+`}`, 200)
			if err != nil {
				t.Fatal(err)
			}
			err = refreshProvider(t, "https://login.example", tt.more).SameUser(got, "u1")
			if e, ok := errors.AsType[*provider.ExchangeError](err); tt.want == "" && err != nil || tt.want != "" && (!ok || !strings.Contains(e.Said(), tt.want) || strings.Contains(e.Said(), "u2")) {
				t.Errorf("it is judged %v, want %q", err, tt.want)
			}
		})
	}
	var none provider.Tokens
	if err := refreshProvider(t, "https://login.example", issuer).SameUser(none, "u1"); err != nil {
		t.Error(err)
	}
}

func TestWhoIsNamedBySubject(t *testing.T) {
	for more, want := range map[string]bool{
		``:                                  false,
		`"issuer": "https://login.example"`: true,
		`"issuer": "https://login.example", "user_id_field": "email"`:                                                  false,
		`"issuer": "https://login.example", "user_id_field": "sub", "userinfo_endpoint": "https://login.example/info"`: true,
		`"issuer": "https://login.example", "user_id_field": "sub"`:                                                    false,
	} {
		if got := refreshProvider(t, "https://login.example", more).NamesBySubject(); got != want {
			t.Errorf("%s: %t", more, got)
		}
	}
}
