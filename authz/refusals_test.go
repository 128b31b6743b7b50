package authz

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
)

// What was refused is remembered with method and path, and without the query
// and whatever looks like a token; and without a link that heals, which a mesh may lead
// to the wrong host.
// proves: P-5
func TestRefusalsAreRememberedWithoutSecrets(t *testing.T) {
	log := audit.New(audit.Config{Writer: io.Discard})
	defer log.Close()
	d, err := New(Config{Store: &stored{}, Providers: provider.NewProviders(providers(t)), Audit: log, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	token := ath.NewToken(ath.NewTag()).Secret().Reveal()
	for _, r := range []Request{
		{ID: "dec_1", Method: "GET", Path: "/ath/proxy/shop/products?code=secret", Provider: "shop", Mount: "/ath/proxy/shop/"},
		{ID: "dec_2", Method: "GET", Path: "/ath/proxy/shop/" + token, Provider: "shop", Mount: "/ath/proxy/shop/"},
		{ID: "dec_3", Method: token, Path: "/x", Provider: "shop"},
		{ID: "dec_4", Method: "GET", Path: "/ath/heal/secret-handle"},
	} {
		d.Decide(t.Context(), r)
	}
	all := log.Refusals()
	if len(all) != 4 {
		t.Fatalf("%+v", all)
	}
	for _, r := range all {
		for _, text := range []string{r.Path, r.Method} {
			if strings.Contains(text, token) || strings.Contains(text, "secret") {
				t.Errorf("%+v", r)
			}
		}
		if r.DecisionID == "dec_1" && (r.Path != "/ath/proxy/shop/products" || r.Method != "GET" || r.Code != ath.TokenInvalid || r.Reason != string(TokenMissing) || r.ProviderID != "shop") {
			t.Errorf("%+v", r)
		}
	}
}
