package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
)

type unauthorized struct{}

func (unauthorized) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"error":"invalid_client"}`))}, nil
}

// Where a server has habits that athd knows, and the configuration does not name
// them, the check says so; it never takes them by itself.
func TestCheckNamesThePresetOfAKnownHost(t *testing.T) {
	for more, want := range map[string]bool{"": true, `, "preset": "auth0"`: false, `, "preset": "none"`: false, `, "preset": "oidc"`: false} {
		all, faults := provider.Parse("providers.json", []byte(`{"shop": {"display_name": "Shop", "available_scopes": ["products:read"], "api_base_url": "https://api.shop.example",
			"authorize_endpoint": "https://shop.eu.auth0.com/authorize", "token_endpoint": "https://shop.eu.auth0.com/oauth/token", "client_id": "athd", "client_secret": "hunter2hunter2"`+more+`}}`), provider.Options{})
		if faults != nil {
			t.Fatal(faults)
		}
		c := checkOne(t.Context(), provider.NewClient(provider.ClientConfig{Transport: unauthorized{}}), all[0], "https://gateway.example/ath/callback")
		if got := strings.Contains(strings.Join(c.Warnings, "\n"), "whose habits preset: auth0 knows"); got != want {
			t.Errorf("%s: %q", more, c.Warnings)
		}
	}
}
