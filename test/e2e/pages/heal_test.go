package pages

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

const allowAgain = `form[action^="/ath/heal/"] button[value=allow]`

// exchange redeems a code for an ATH token, and a renewal where the consent stands.
func (a *anAgent) exchange(l link, code string) (token, renewal string) {
	a.t.Helper()
	status, r := a.ask("/ath/token", a.s.Public+"/ath/token", map[string]any{
		"grant_type": "authorization_code", "client_id": a.id, "client_secret": a.secret, "code": code, "ath_session_id": l.session,
	})
	if status != http.StatusOK {
		a.t.Fatalf("token: %d %s", status, r.Code)
	}
	return r.Access, r.Refresh
}

// call calls the app's API, and returns the link by which a refusal is healed.
func (a *anAgent) call(token string) (status int, heals string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.s.Public+"/products", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-ATH-Agent-ID", a.ID())
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		a.t.Fatal(err)
	}
	var refusal struct {
		Details struct {
			URL string `json:"authorization_url"`
		} `json:"details"`
	}
	if resp.StatusCode >= 400 {
		if err := json.Unmarshal(body, &refusal); err != nil {
			a.t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	return resp.StatusCode, refusal.Details.URL
}

// providerEndsAll ends all that the OAuth server has given, as a user does in the
// account there.
func providerEndsAll(t *testing.T, s *stage.Stage) {
	t.Helper()
	for _, token := range s.OAuth.Issued() {
		resp, err := http.PostForm(s.Issuer+"/revoke", url.Values{"token": {token}, "client_id": {"athd"}, "client_secret": {stage.Secret}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}

// What the provider has ended, its user allows again by the link in the refusal, in
// a browser; and nobody else does.
// proves: P-10
func TestUsersHealInTheBrowser(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{
		ConsentHost: consentHost, Refreshable: true, AccessTTL: 4 * time.Second, Renewal: "{max: 90d, idle: 30d}",
		Extra: `operator: {name: "Example Ltd, IT", contact: help@example.com}`,
	})
	a := newAgent(t, s)
	a.Name, a.Developer.Name = "Shopping Assistant", "Example Developers Ltd"
	a.Purpose = "Finds what you are looking for and puts it into your cart."
	l := a.authorize(stage.App, "products:read", "cart:write")
	b := newBrowser(t)
	b.allow(l)
	token, _ := a.exchange(l, b.finish())
	if status, _ := a.call(token); status != http.StatusOK {
		t.Fatalf("a fresh token: %d", status)
	}
	providerEndsAll(t, s)
	var heals string
	eventually(t, "the provider's end", func() bool {
		status, link := a.call(token)
		heals = link
		return status == http.StatusUnauthorized
	})
	if !strings.HasPrefix(heals, s.ConsentURL+"/ath/heal/") {
		t.Fatalf("the refusal's link is %q", heals)
	}

	stranger := newBrowser(t)
	stranger.open(heals)
	stranger.click(allowAgain)
	stranger.await(password)
	stranger.fill("input[name=username]", stage.Stranger)
	stranger.fill(password, stage.StrangerPassword)
	stranger.click(logIn)
	stranger.click(allowThere)
	stranger.await("#unhealed")
	stranger.pictures(t, "unhealed")
	if status, _ := a.call(token); status != http.StatusUnauthorized {
		t.Errorf("after somebody else's consent: %d", status)
	}

	eventually(t, "another link", func() bool {
		_, link := a.call(token)
		heals = link
		return heals != ""
	})
	owner := newBrowser(t)
	owner.open(heals)
	owner.await(allowAgain)
	for id, want := range map[string]string{
		"until": "As long as you allowed it before. This makes it no longer.",
		"end":   "To end it sooner, ask Example Ltd, IT: help@example.com.",
	} {
		if got := owner.text("#" + id); got != want {
			t.Errorf("the page shows %s %q, want %q", id, got, want)
		}
	}
	owner.pictures(t, "heal")
	owner.click(allowAgain)
	owner.await(password)
	owner.login()
	owner.click(allowThere)
	owner.await("#healed")
	owner.pictures(t, "healed")
	if status, _ := a.call(token); status != http.StatusOK {
		t.Errorf("the same token afterwards: %d", status)
	}
}
