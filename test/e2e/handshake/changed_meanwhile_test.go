package handshake

import (
	"net/http"
	"testing"
)

// A user is asked to allow one server and one API. Whatever becomes of the provider
// before the code is there, the code goes to no other server, and the token to no
// other API.
//
// proves: O-2, C-2
func TestAProviderThatIsChangedWhileItsUserIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		change func(other *upstream) body
		goesOn bool
	}{
		"another token endpoint": {change: func(u *upstream) body { return body{"token_endpoint": u.URL + "/token", "client_secret": annexSecret} }},
		"another API": {change: func(*upstream) body {
			return body{"api_base_url": "https://api.other.example", "client_secret": oauthSecret}
		}},
		"another userinfo": {change: func(u *upstream) body {
			return body{"userinfo_endpoint": u.URL + "/userinfo", "client_secret": oauthSecret}
		}},
		"another name": {change: func(*upstream) body { return body{"display_name": "The Wing"} }, goesOn: true},
	} {
		for place, asked := range map[string]bool{"before our page": false, "at the provider's page": true} {
			t.Run(name+", "+place, func(t *testing.T) {
				w, other := newWorld(t, atRuntime), startUpstream(t)
				w.add(t, w.annex())
				a := w.actor("a")
				a.register("annex", "pictures:read")
				link, session := a.authorize("annex", []string{"pictures:read"})
				b := w.newBrowser()
				change := func() {
					t.Helper()
					if r := w.operate("PUT", providersPath+"/annex", c.change(other).text()); r.status != http.StatusOK {
						t.Fatalf("%d %s", r.status, r.raw)
					}
				}
				var text string
				if asked {
					page := w.atProvider(b, link, "alice")
					change()
					last, err := b.Submit(t.Context(), page.Form().Click("Allow"))
					if err != nil {
						t.Fatal(err)
					}
					text = last.Body
				} else {
					change()
					if c.goesOn {
						text = w.consent(b, link).Body
					} else if page, err := b.Get(t.Context(), link); err != nil || page.Status != http.StatusBadRequest {
						t.Errorf("our page is shown: %d, %v", page.Status, err)
					}
				}
				code := athCode.FindString(text)
				if (code != "") != c.goesOn || len(other.codes) != 0 {
					t.Errorf("code %q, and the other server got %q", code, other.codes)
				}
				r := w.post("/ath/token", a.exchange(session, "ath_code_x"))
				if name == "another API" && asked && r.details()["provider_error"] != "provider_changed" {
					t.Errorf("the agent hears: %d %s", r.status, r.raw)
				}
			})
		}
	}
}
