package authz

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
)

// A provider whose issuer has not told its endpoints yet is answered 503: for
// which server a user's token is, is not known. Once it has, tokens of users who
// agreed to that server are good, and no others.
// proves: P-6, O-2
func TestProviderIsUnavailableUntilItsIssuerHasTold(t *testing.T) {
	all, faults := provider.Parse("providers.json", []byte(`{"shop": {
		"display_name": "Shop", "available_scopes": ["products:read"], "api_base_url": "https://api.shop.example",
		"issuer": "https://auth.shop.example", "client_id": "c", "client_secret": "s"}}`), provider.Options{})
	if faults != nil {
		t.Fatal(faults)
	}
	set := func(p *provider.Provider) *provider.Set {
		s, err := provider.NewSet(p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	providers := provider.NewProviders(set(all[0]))
	s, r := good()
	var logs recorder
	d, err := New(Config{
		Store: s, Providers: providers, Audit: audit.New(audit.Config{Writer: &logs, JSON: true}),
		Logger: slog.New(slog.NewJSONHandler(&logs, nil)), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	decision := d.Decide(t.Context(), r)
	checkRefusal(t, &decision, refusalCase{reason: ProviderUnavailable, status: http.StatusServiceUnavailable, code: ath.OAuthError})
	checkLogs(t, logs.String(), s, decision.ID)

	told := func(token string) {
		t.Helper()
		document, err := metadata.Parse([]byte(strings.ReplaceAll(`{"issuer":"https://auth.shop.example","authorization_endpoint":"https://auth.shop.example/a","token_endpoint":"TOKEN"}`, "TOKEN", token)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := all[0].With(document, "")
		if err != nil {
			t.Fatal(err)
		}
		providers.Replace(set(p))
	}
	told("https://auth.shop.example/token")
	if decision := d.Decide(t.Context(), r); !decision.Allowed() {
		t.Errorf("the user agreed to this server: %s", decision.Reason())
	}
	told("https://other.example/token")
	if decision := d.Decide(t.Context(), r); decision.Reason() != ReauthorizationRequired {
		t.Errorf("the user agreed to another server: %s", decision.Reason())
	}
}
