package walk

import (
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

// Each OAuth server sends users back to a place of its own, which Envoy leads
// to athd, and no other place takes its answers.
// S-6
func TestCallbackPerProviderThroughEnvoy(t *testing.T) {
	for _, destination := range []string{"route", "host_and_path"} {
		t.Run(destination, func(t *testing.T) {
			s := stage.Start(t, stage.Options{PerProvider: true, AppID: "com.acme.api", Embedded: true, Destination: destination})
			native := s.Token(s.NewAgent("native"), "com.acme.api", "products:read")
			passes(t, s, s.App, native.Access.Reveal(), native.AgentID, "/api/products", "GET /api/products HTTP/1.1\r\n")
			gateway := s.Token(s.NewAgent("gateway"), stage.Provider, "pictures:read")
			passes(t, s, s.Gallery, gateway.Access.Reveal(), gateway.AgentID, "/ath/proxy/gallery/pictures/7", "GET /v1/pictures/7 HTTP/1.1\r\n")

			c := s.NewAgent("moved")
			if _, err := s.Register(c, stage.Provider, "pictures:read"); err != nil {
				t.Fatal(err)
			}
			auth, err := c.Authorize(t.Context(), client.Consent{Provider: stage.Provider, Scopes: []string{"pictures:read"}})
			if err != nil {
				t.Fatal(err)
			}
			b := browser.New()
			defer b.Close()
			page := s.Consent(b, auth.URL)
			at := slices.IndexFunc(b.Steps(), func(step browser.Step) bool { return strings.Contains(step.URL, "/ath/callback/gallery?") })
			if at < 0 {
				t.Fatalf("the browser was not at the provider's own callback: %d %v", page.Status, b.Steps())
			}
			// The same answer at other places, in the same browser.
			for _, elsewhere := range []string{"/ath/callback", "/ath/callback/com.acme.api", "/ath/callback/nobody", "/ath/callback/gallery/x"} {
				other, err := b.Get(t.Context(), strings.Replace(b.Steps()[at].URL, "/ath/callback/gallery", elsewhere, 1))
				if err != nil || other.Status < 400 || strings.Contains(other.Body, "ath_code_") {
					t.Errorf("%s: %v %+v", elsewhere, err, other)
				}
			}
		})
	}
}
