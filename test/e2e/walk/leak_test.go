package walk

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/stage"
)

var ours = regexp.MustCompile(`ath_(tk|secret|code|sess)_[\w-]{20,}`)

// Neither Redis nor any log holds a token, a secret or a code, whatever
// happened: good calls, refusals, wrong secrets, a revocation, a denial.
func TestNothingLeaks(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	var secrets []leak.Secret
	add := func(name, value string) {
		for _, have := range secrets {
			if have.Value == value {
				return
			}
		}
		secrets = append(secrets, leak.Secret{Name: name, Value: value})
	}
	observe := func(ex *wire.Exchange) {
		for _, m := range ours.FindAllStringSubmatch(string(ex.Reply)+string(ex.Body), -1) {
			add("ath_"+m[1], m[0])
		}
	}
	for name, provider := range map[string]string{"one": stage.App, "two": stage.Provider} {
		c, _ := s.NewAgentVia(name, &wire.Recorder{Base: wire.Local(), Observe: observe})
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
		post(t, s, "/ath/revoke", `{"client_id":"`+c.Credentials().ClientID+`","client_secret":"ath_secret_wrong_0123456789_0123456789","token":"`+token.Access.Reveal()+`"}`)
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
	for i, value := range s.OAuth.Issued() {
		add(fmt.Sprintf("upstream token or code %d", i), value)
	}
	add("athd's client secret", stage.Secret)
	add("the operator's token", stage.AdminKey)
	kinds := map[string]int{}
	for _, x := range secrets {
		kinds[strings.Fields(x.Name)[0]]++
	}
	if kinds["ath_tk"] < 2 || kinds["ath_secret"] < 2 || kinds["ath_code"] < 2 || kinds["upstream"] < 4 {
		t.Fatalf("too few secrets were gathered to look for: %v", kinds)
	}

	places := map[string][]byte{
		"athd's log": []byte(s.Athd.Logs()), "Envoy's access log": []byte(strings.Join(s.Envoy.AccessLog(), "\n")),
		"Envoy's log": []byte(s.Envoy.Log()),
	}
	_, metrics := s.Athd.Get("/metrics")
	places["metrics"] = []byte(metrics)
	dump := s.Redis.Dump(t)
	if len(dump) < 6 {
		t.Fatalf("the dump has only %d keys", len(dump))
	}
	for key, value := range dump {
		places["Redis key "+key] = []byte(key)
		places["Redis value of "+key] = value
	}
	finds, err := leak.Scan(places, secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range finds {
		t.Errorf("found %v", f)
	}

	// The same scan finds each secret where it is planted.
	for _, x := range secrets {
		planted := map[string][]byte{"planted": []byte("?" + base64.StdEncoding.EncodeToString([]byte("ab"+x.Value+"c")))}
		if finds, err := leak.Scan(planted, []leak.Secret{x}); err != nil || len(finds) == 0 {
			t.Errorf("%s was planted and not found", x.Name)
		}
	}
	t.Logf("looked for %d secrets in %d places", len(secrets), len(places))
}
