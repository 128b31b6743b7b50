package walk

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

// A directory puts its groups into tokens: the largest that are taken come
// through every door on the way, and those beyond are told by their size.
// F-9
func TestLargeTokensAndCodesThroughEnvoy(t *testing.T) {
	// Two thirds of the code are percent-encoded in the callback's URL.
	code := strings.Repeat("a+/", 5461) + "z"
	access := strings.Repeat("Aa0-._~+/", 3640) + "Aa0-=Aa="
	if len(code) != 16<<10 || len(access) != 32<<10 {
		t.Fatalf("%d, %d", len(code), len(access))
	}
	var redeemed, issued string
	issued = access
	directory := http.NewServeMux()
	directory.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := url.Values{"state": {r.URL.Query().Get("state")}, "code": {code}}
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+q.Encode(), http.StatusFound)
	})
	directory.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		redeemed = r.PostFormValue("code")
		fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"token_type":"Bearer"}`, issued, access)
	})
	server := httptest.NewServer(directory)
	defer server.Close()
	api := stage.StartUpstream(t, nil)
	s := stage.Start(t, stage.Options{Mode: "gateway", Providers: map[string]any{"directory": map[string]any{
		"display_name": "The Directory", "available_scopes": []string{"groups:read"}, "client_id": "athd", "client_secret": stage.Secret,
		"authorize_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token", "api_base_url": api.URL,
	}}})
	c := s.NewAgent("large")
	token := s.Token(c, "directory", "groups:read")
	if redeemed != code {
		t.Errorf("the code arrived as %d bytes of %d", len(redeemed), len(code))
	}
	for range 2 { // also from what was decrypted once
		api.Forget()
		r := raw(t, s, request(s, "GET", "/ath/proxy/directory/groups/7", token.Access.Reveal(), token.AgentID, "Connection: close")...)
		if r.status != http.StatusOK || !strings.Contains(api.Bytes(), "Bearer "+access+"\r\n") {
			t.Fatalf("the API answered %d: %s", r.status, r.body)
		}
	}

	issued = access + "x"
	auth, err := c.Authorize(t.Context(), client.Consent{Provider: "directory", Scopes: []string{"groups:read"}})
	if err != nil {
		t.Fatal(err)
	}
	b := browser.New()
	defer b.Close()
	if page := s.Consent(b, auth.URL); !strings.Contains(page.Text, "access_token is too long: 32769 bytes") {
		t.Errorf("a byte more: %d %s", page.Status, page.Text)
	}
	if !strings.Contains(s.Athd.Logs(), "access_token is too long: 32769 bytes, and at most 32768 are taken") || strings.Contains(s.Athd.Logs(), access) {
		t.Error("the log does not say so, or says too much")
	}
}
