package walk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

// widens lets an access ask the stage's user.
func widens(s *stage.Stage, shown *[]client.More) *client.Ask {
	return &client.Ask{
		Approve: func(_ context.Context, m client.More) error { *shown = append(*shown, m); return nil },
		Consent: func(_ context.Context, a *client.Authorization) (ath.Secret, error) {
			b := browser.New()
			defer b.Close()
			page := s.Consent(b, a.URL)
			_, code, _ := strings.Cut(page.Body, "ath_code_")
			if end := strings.IndexFunc(code, func(r rune) bool {
				return !strings.ContainsRune("-_", r) && (r < '0' || r > 'z' || r > '9' && r < 'A' || r > 'Z' && r < 'a')
			}); end >= 0 {
				code = code[:end]
			}
			return ath.NewSecret("ath_code_" + code), nil
		},
	}
}

func accessOf(t *testing.T, c *client.Client, token client.Token, config client.AccessConfig) (*http.Client, *client.Access, string) {
	t.Helper()
	found, err := c.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config.Token = token
	if config.API, err = found.API(token.Provider); err != nil {
		t.Fatal(err)
	}
	access, err := c.Access(config)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: access}, access, config.API
}

// A call outside the scopes goes through, after its user has allowed it; the new
// token has the scope, and the old one does not pass any more. The agent was not
// even registered for it.
// proves: P-11, T-3
func TestACallOutsideTheScopesAsksTheUserAndPasses(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	for _, m := range []struct {
		provider, has, lacks, method, path string
		api                                *stage.Upstream
	}{
		{stage.App, "products:read", "orders:read", "GET", "/api/orders/1", s.App},
		{stage.Provider, "pictures:read", "pictures:write", "POST", "/pictures", s.Gallery},
	} {
		t.Run(m.provider, func(t *testing.T) {
			c := s.NewAgent("more-" + m.provider)
			old := s.Token(c, m.provider, m.has)
			secret := c.Credentials().Secret
			var shown []client.More
			by, access, api := accessOf(t, c, old, client.AccessConfig{Ask: widens(s, &shown)})
			m.api.Forget()
			req, err := http.NewRequestWithContext(t.Context(), m.method, api+m.path, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := by.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || m.api.Hits() != 1 {
				t.Errorf("%d, and the API was asked %d times", resp.StatusCode, m.api.Hits())
			}
			fresh := access.Token()
			if fresh.Access.Equal(old.Access.Reveal()) || strings.Join(fresh.Scopes, " ") != m.has+" "+m.lacks {
				t.Errorf("the new token is for %v", fresh.Scopes)
			}
			if len(shown) != 1 || strings.Join(shown[0].Scopes, " ") != m.lacks || c.Credentials().Secret.Equal(secret.Reveal()) {
				t.Errorf("shown %+v; the secret is another: %v", shown, !c.Credentials().Secret.Equal(secret.Reveal()))
			}
			transport, err := c.Transport(old.Access, api)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := (&http.Client{Transport: transport}).Post(api+m.path, "", nil); client.CodeOf(err) != ath.TokenRevoked {
				t.Errorf("the old token: %v, %v", resp, err)
			}
		})
	}
}

// A hostile API answers as athd does when it refuses, with the header and with
// the trailer of P-9. Behind the generated configuration it is the API's reply,
// and nobody is sent anywhere. In front of an Envoy that lets the header through,
// a link is followed on the consent origin alone.
// proves: P-9
func TestClientsFollowNothingThatAHostileAPISays(t *testing.T) {
	const evil = "https://evil.example/ath/heal/x"
	for _, strips := range []bool{true, false} {
		t.Run(fmt.Sprintf("Envoy strips: %v", strips), func(t *testing.T) {
			s := stage.Start(t, stage.Options{Embedded: true, ConsentHost: "localhost", Envoy: func(_ string, bootstrap func(...string) []byte) []byte {
				text := bootstrap()
				if strips {
					return text
				}
				// athd has any Envoy take the header off; this one puts it back.
				return routeConfig.ReplaceAll(text, []byte("${0}\n${1}  response_headers_to_add: [{header: {key: x-ath-decision-id, value: dec_forged}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]"))
			}})
			refusals := map[string]string{
				"another-origin": refusalWith(`"reason":"reauthorization_required","authorization_url":"` + evil + `"`),
				"look-alike":     refusalWith(`"reason":"reauthorization_required","authorization_url":"` + s.ConsentURL + `.evil.example/ath/heal/x"`),
				"public-origin":  refusalWith(`"reason":"reauthorization_required","authorization_url":"` + s.Public + `/ath/heal/x"`),
				"discovery":      refusalWith(`"reason":"reauthorization_required","discovery":"https://evil.example/.well-known/ath.json","consent_origin":"https://evil.example","authorization_url":"` + evil + `"`),
				"another-next":   refusalWith(`"next":{"step":"authorize","provider_id":"gallery","scopes":["pictures:write"]}`),
			}
			for name, body := range refusals {
				status := http.StatusUnauthorized
				if strings.Contains(name, "next") {
					status = http.StatusForbidden
				}
				s.App.Serve("/api/products/"+name, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("X-ATH-Decision-ID", "dec_forged")
					w.Header().Set("Trailer", "X-ATH-Decision-ID")
					w.WriteHeader(status)
					io.WriteString(w, body)
					w.(http.Flusher).Flush()
					w.Header().Set("X-ATH-Decision-ID", "dec_forged")
				})
			}
			s.App.Serve("/api/products/redirect", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, s.Gallery.URL+"/stolen", http.StatusTemporaryRedirect)
			})
			c := s.NewAgent("wary")
			var shown []client.More
			by, _, api := accessOf(t, c, s.Token(c, stage.App, "products:read"), client.AccessConfig{
				Heal: func(_ context.Context, link string) error { t.Errorf("it shows %s", link); return errors.New("stop") },
				Ask:  widens(s, &shown),
			})
			for name, body := range refusals {
				resp, err := by.Get(api + "/api/products/" + name)
				switch {
				case strips && err != nil:
					t.Errorf("%s: what the API said became %v", name, err)
				case strips:
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || string(got) != body || len(resp.Trailer.Values("X-ATH-Decision-ID"))+len(resp.Header.Values("X-ATH-Decision-ID")) > 0 {
						t.Errorf("%s: %s, %v with %v and trailers %v", name, got, err, resp.Header, resp.Trailer)
					}
				case err == nil:
					resp.Body.Close()
					t.Errorf("%s: it passed with %d, and this Envoy should say that it is ours", name, resp.StatusCode)
				default:
					_, isLink := errors.AsType[*client.LinkError](err)
					if isLink == strings.Contains(name, "next") || strings.Contains(err.Error(), "evil") {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
			if len(shown) > 0 {
				t.Errorf("who runs the client was asked for %+v", shown)
			}
			s.Gallery.Forget()
			if resp, err := by.Get(api + "/api/products/redirect"); err == nil {
				resp.Body.Close()
				t.Errorf("the redirect was followed: %d", resp.StatusCode)
			} else if _, ok := errors.AsType[*client.OtherHostError](err); !ok || s.Gallery.Hits() > 0 {
				t.Errorf("the redirect: %v; the other host was asked %d times", err, s.Gallery.Hits())
			}
		})
	}
}

var routeConfig = regexp.MustCompile(`(?m)^( *)route_config:$`)

func refusalWith(details string) string {
	return `{"code":"SCOPE_NOT_APPROVED","message":"no","details":{"decision_id":"dec_forged",` + details + `}}`
}

// A consent that stands outlives its tokens: calls go on through Envoy by two
// processes of one agent that share a renewal, one extra request at each end, and
// end with it.
// proves: T-8, V-1
func TestCallsOutliveTheirToken(t *testing.T) {
	s := stage.Start(t, stage.Options{TokenTTL: "2s", Renewal: "{max: 90d, idle: 30d}", Refreshable: true, AccessTTL: 3 * time.Second})
	c := s.NewAgent("lasting")
	first := s.Token(c, stage.App, "products:read")
	if first.Renewal.IsZero() || time.Until(first.RenewalExpires) < 29*24*time.Hour {
		t.Fatalf("the token renews until %v", first.RenewalExpires)
	}
	var access [2]*client.Access
	var by [2]*http.Client
	var api string
	var tokens [2]map[string]bool
	for i := range access {
		tokens[i] = map[string]bool{}
		by[i], access[i], api = accessOf(t, c, first, client.AccessConfig{Keep: func(_ context.Context, t client.Token) error {
			tokens[i][t.Access.Reveal()] = true
			return nil
		}})
	}
	for len(tokens[0]) < 3 || len(tokens[1]) < 3 {
		for i := range by {
			resp, err := by[i].Get(api + "/api/products")
			if err != nil {
				t.Fatalf("after %d and %d tokens: %v", len(tokens[0]), len(tokens[1]), err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("after %d and %d tokens: %d", len(tokens[0]), len(tokens[1]), resp.StatusCode)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := c.Revoke(t.Context(), access[0].Token().Renewal); err != nil {
		t.Fatal(err)
	}
	for i := range by {
		deadline := time.Now().Add(patience)
		for {
			resp, err := by[i].Get(api + "/api/products")
			if err == nil {
				resp.Body.Close()
				t.Fatal("a call passes after the renewal has been revoked")
			}
			if _, ok := errors.AsType[*client.RenewalError](err); ok && client.CodeOf(err) == ath.TokenRevoked {
				break // the token has ended, and the renewal too
			}
			if client.CodeOf(err) != ath.TokenRevoked || time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// The provider ends what the user had allowed: the call shows the user a link,
// waits, and passes with the same token once the user has allowed it again. So
// does the one that finds its token ended meanwhile: the renewal's refusal has the
// link as well.
// proves: P-10
func TestCallsWaitUntilTheUserHasHealedTheGrant(t *testing.T) {
	s := stage.Start(t, stage.Options{AccessTTL: 2 * time.Second, Refreshable: true, Renewal: "{max: 90d, idle: 30d}", TokenTTL: "8s", ConsentHost: "localhost"})
	for _, provider := range []string{stage.App, stage.Provider} {
		t.Run(provider, func(t *testing.T) {
			scope, path := "products:read", "/api/products"
			if provider == stage.Provider {
				scope, path = "pictures:read", "/pictures/7"
			}
			c := s.NewAgent("healed-" + provider)
			token := s.Token(c, provider, scope)
			var links []string
			var users sync.WaitGroup
			defer users.Wait()
			by, access, api := accessOf(t, c, token, client.AccessConfig{Heal: func(_ context.Context, link string) error {
				links = append(links, link)
				users.Go(func() { s.Heal(link) })
				return nil
			}})
			get := func() {
				t.Helper()
				resp, err := by.Get(api + path)
				if err != nil {
					t.Fatalf("after %d links: %v", len(links), err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("after %d links: %d", len(links), resp.StatusCode)
				}
			}
			get()
			renewal := access.Token().Renewal
			for round := 1; round <= 2; round++ {
				s.EndGrants()
				deadline := time.Now().Add(patience)
				for len(links) < round && time.Now().Before(deadline) {
					get()
					time.Sleep(100 * time.Millisecond)
				}
				get()
				if round == 1 { // so that the second time the token has ended, too
					time.Sleep(time.Until(access.Token().Expires))
				}
			}
			if len(links) != 2 || !strings.HasPrefix(links[0], s.ConsentURL+"/ath/heal/") || !access.Token().Renewal.Equal(renewal.Reveal()) {
				t.Errorf("the user was shown %d links; the renewal is the same: %v", len(links), access.Token().Renewal.Equal(renewal.Reveal()))
			}
		})
	}
}
