package walk

import (
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/stage"
)

// Neither Redis, nor any log, metric, audit event, refusal or reply to an operator
// holds a token, a secret or a code, whatever happened: good calls, refusals, wrong
// secrets, refreshes, a revocation, a denial, ends by an operator. The stage looks
// for them when it ends, as every stage does; here everything happens, and what was
// gathered is counted.
// proves: O-1
func TestNothingLeaks(t *testing.T) {
	s := stage.Start(t, stage.Options{AccessTTL: time.Second, Refreshable: true})
	for name, provider := range map[string]string{"one": stage.App, "two": stage.Provider} {
		c := s.NewAgent(name)
		scopes, path := []string{"products:read"}, "/api/products"
		if provider == stage.Provider {
			scopes, path = []string{"pictures:read"}, "/ath/proxy/gallery/pictures/1"
		}
		token := s.Token(c, provider, scopes...)
		for _, target := range []string{path, path + "?access_token=" + token.Access.Reveal(), "/api/secret", path + "/%2e%2e"} {
			s.Call(c, token, "GET", target)
		}
		unused, code := s.Code(c, provider, scopes...) // never exchanged: the records stay
		if _, err := c.Exchange(t.Context(), unused, ath.NewSecret(code.Reveal()+"x")); err == nil {
			t.Error("a wrong code was taken")
		}
		for refreshed, until := s.OAuth.Stats().Refreshes, time.Now().Add(patience); s.OAuth.Stats().Refreshes == refreshed; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("the user's token is not refreshed")
			}
			s.Call(c, token, "GET", path)
		}
		post(t, s, "/ath/revoke", `{"client_id":"`+c.Credentials().ClientID+`","client_secret":"ath_secret_wrong_0123456789_0123456789","token":"`+token.Access.Reveal()+`"}`)
		for _, path := range []string{"/ath/admin/agents", "/ath/admin/connections", "/ath/admin/refusals", "/ath/admin/streams", "/ath/admin/providers"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Public+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-ATH-User-Token", stage.AdminKey)
			r := do(t, req)
			if r.status != http.StatusOK {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
		post(t, s, "/ath/admin/explain", `{"token":"`+token.Access.Reveal()+`","agent_id":"`+token.AgentID+`","method":"GET","path":"`+path+`"}`, "X-ATH-User-Token", stage.AdminKey)
		if err := c.Revoke(t.Context(), token.Access); err != nil {
			t.Fatal(err)
		}
		auth, err := c.Authorize(t.Context(), client.Consent{Provider: provider, Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		b := browser.New()
		page, err := b.Get(t.Context(), auth.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Submit(t.Context(), page.Form().Click("Deny")); err != nil {
			t.Fatal(err)
		}
	}
	r := post(t, s, "/ath/admin/users/end", `{"user_id":"`+stage.UserID+`"}`, "X-ATH-User-Token", stage.AdminKey)
	if r.status != http.StatusOK {
		t.Errorf("the user is not ended: %d %s", r.status, r.body)
	}
	if dump := s.Redis.Dump(t); len(dump) < 6 {
		t.Errorf("the dump has only %d keys", len(dump))
	}
	secrets := leak.Of(t).Secrets()
	kinds := map[string]int{}
	for _, x := range secrets {
		kinds[x.Name]++
	}
	if kinds["an ath_tk"] < 2 || kinds["an ath_secret"] < 2 || kinds["an ath_code"] < 2 || kinds["a code of the OAuth server"] < 4 ||
		kinds["an upstream access_token"] < 4 || kinds["an upstream refresh_token"] < 4 {
		t.Errorf("too few secrets were gathered to look for: %v", kinds)
	}
	if n := leak.Of(t).Refusals(); n < 6 {
		t.Errorf("only %d refusals were gathered", n)
	}

	// The same scan finds each secret where it is planted.
	for _, x := range secrets {
		planted := map[string][]byte{"planted": []byte("?" + base64.StdEncoding.EncodeToString([]byte("ab"+x.Value+"c")))}
		if finds, err := leak.Scan(planted, []leak.Secret{x}); err != nil || len(finds) == 0 {
			t.Errorf("%s was planted and not found", x.Name)
		}
	}
}
