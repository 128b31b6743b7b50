package handshake

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/athd/athd/provider"
)

// An ATH token lives no longer than the user's token, unless that is refreshed.
//
// proves: T-9
func TestTokenEndsWithTheUsersTokenThatCannotBeRefreshed(t *testing.T) {
	for name, tt := range map[string]struct {
		reply map[string]any
		off   bool // refresh: false
		least float64
		most  float64
	}{
		"five minutes, and no refresh token":        {map[string]any{"expires_in": 300}, false, 280, 300},
		"five minutes, and a refresh token":         {map[string]any{"expires_in": 300, "refresh_token": "r"}, false, 3590, 3600},
		"a refresh token that is used in time":      {map[string]any{"expires_in": 300, "refresh_token": "r", "refresh_expires_in": 1800}, false, 3590, 3600},
		"one that ends before anybody looks":        {map[string]any{"expires_in": 30, "refresh_token": "r", "refresh_expires_in": 120}, false, 100, 120},
		"one that ends before the access token":     {map[string]any{"expires_in": 300, "refresh_token": "r", "refresh_expires_in": 60}, false, 280, 300},
		"one without an end":                        {map[string]any{"expires_in": 300, "refresh_token": "r", "refresh_expires_in": 0}, false, 3590, 3600},
		"a refresh token, and refresh is off":       {map[string]any{"expires_in": 300, "refresh_token": "r"}, true, 280, 300},
		"two hours, and no refresh token":           {map[string]any{"expires_in": 7200}, false, 3590, 3600},
		"no known end, and no refresh token":        {map[string]any{"expires_in": nil}, false, 3590, 3600},
		"over before anybody could have used it: 0": {map[string]any{"expires_in": 0.2}, false, -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *settings) {
				p := *c.Providers.Current().Get("gallery")
				p.TokenURL = editedReplies(t, p.TokenURL, tt.reply)
				p.Refresh.Off = tt.off
				set, err := provider.NewSet(&p)
				if err != nil {
					t.Fatal(err)
				}
				c.Providers = provider.NewProviders(set)
			})
			a := w.actor("short")
			a.register("gallery", "pictures:read")
			r := a.token("gallery", "pictures:read")
			if tt.most < 0 {
				if r.status == http.StatusOK || r.text("code") != "OAUTH_ERROR" {
					t.Errorf("%d %s", r.status, r.raw)
				}
				return
			}
			if seconds, _ := r.json["expires_in"].(float64); r.status != http.StatusOK || seconds < tt.least || seconds > tt.most {
				t.Errorf("T-9: %d, expires_in %v", r.status, seconds)
			}
		})
	}
}

// editedReplies is the URL of a token endpoint that answers as another, but for
// some members; nil: they are left out.
func editedReplies(t *testing.T, to *url.URL, members map[string]any) *url.URL {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		res, err := http.PostForm(to.String(), r.PostForm)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		body := map[string]any{}
		if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		for name, value := range members {
			if body[name] = value; value == nil {
				delete(body, name)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(res.StatusCode)
		json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
