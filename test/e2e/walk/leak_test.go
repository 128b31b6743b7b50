package walk

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/stage"
)

var ours = regexp.MustCompile(`ath_(tk|secret|code|sess)_[\w-]{20,}`)

// Neither Redis, nor any log, metric, audit event, refusal or reply to an operator
// holds a token, a secret or a code, whatever happened: good calls, refusals, wrong
// secrets, refreshes, a revocation, a denial, ends by an operator.
func TestNothingLeaks(t *testing.T) {
	s := stage.Start(t, stage.Options{AccessTTL: time.Second, Refreshable: true})
	var secrets []leak.Secret
	add := func(name, value string) {
		for _, have := range secrets {
			if have.Value == value {
				return
			}
		}
		secrets = append(secrets, leak.Secret{Name: name, Value: value})
	}
	places := map[string][]byte{}
	refusal := func(of string, status int, body string) {
		if status >= 400 {
			places[fmt.Sprintf("refusal %d of %s", len(places), of)] = []byte(body)
		}
	}
	observe := func(ex *wire.Exchange) {
		refusal("the handshake", ex.Status, string(ex.Reply))
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
			ex := s.Call(c, token, "GET", target)
			refusal("a call", ex.Status, string(ex.Reply))
		}
		unused, code := s.Code(c, provider, scopes...) // never exchanged: the records stay
		if _, err := c.Exchange(t.Context(), unused, ath.NewSecret(code.Reveal()+"x")); err == nil {
			t.Error("a wrong code was taken")
		}
		for refreshed, until := s.OAuth.Stats().Refreshes, time.Now().Add(20*time.Second); s.OAuth.Stats().Refreshes == refreshed; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("the user's token is not refreshed")
			}
			s.Call(c, token, "GET", path)
		}
		r := post(t, s, "/ath/revoke", `{"client_id":"`+c.Credentials().ClientID+`","client_secret":"ath_secret_wrong_0123456789_0123456789","token":"`+token.Access.Reveal()+`"}`)
		refusal("a revocation", r.status, r.body)
		for _, path := range []string{"/ath/admin/agents", "/ath/admin/connections", "/ath/admin/refusals", "/ath/admin/providers"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Public+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-ATH-User-Token", stage.AdminKey)
			r := do(t, req)
			if r.status != http.StatusOK {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
			places["reply of "+path+" while there is "+name] = []byte(r.body)
		}
		r = post(t, s, "/ath/admin/explain", `{"token":"`+token.Access.Reveal()+`","agent_id":"`+token.AgentID+`","method":"GET","path":"`+path+`"}`, "X-ATH-User-Token", stage.AdminKey)
		places["reply of explain to "+name] = []byte(r.body)
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

	r := post(t, s, "/ath/admin/users/end", `{"user_id":"`+stage.UserID+`"}`, "X-ATH-User-Token", stage.AdminKey)
	if r.status != http.StatusOK {
		t.Errorf("the user is not ended: %d %s", r.status, r.body)
	}
	places["reply of users/end"] = []byte(r.body)
	refused := 0
	for where := range places {
		if strings.HasPrefix(where, "refusal") {
			refused++
		}
	}
	if refused < 6 {
		t.Errorf("only %d refusals were gathered", refused)
	}
	places["athd's log and audit events"] = []byte(s.Athd.Logs())
	places["Envoy's access log"] = []byte(strings.Join(s.Envoy.AccessLog(), "\n"))
	places["Envoy's log"] = []byte(s.Envoy.Log())
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
