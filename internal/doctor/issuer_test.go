package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/athd/athd/config"
	"github.com/athd/athd/provider"
)

// The issuer of a provider without endpoints is asked as athd asks it, and its
// endpoints are those that are tried.
func TestIssuerWithoutWrittenEndpoints(t *testing.T) {
	for name, tt := range map[string]struct {
		document     string
		allowPrivate bool
		status       Status
		cause, cure  string
		token        bool
	}{
		"all well":        {`{"issuer":"SERVER","authorization_endpoint":"SERVER/authorize","token_endpoint":"SERVER/token"}`, true, OK, "", "", true},
		"no metadata":     {"", true, Fault, "answered 503", "or write authorize_endpoint and token_endpoint", false},
		"a private place": {`{"issuer":"SERVER","authorization_endpoint":"SERVER/authorize","token_endpoint":"SERVER/token"}`, false, Fault, "address is not public", "allow_private_issuer: true", false},
		"another slash":   {`{"issuer":"SERVER/","authorization_endpoint":"SERVER/authorize","token_endpoint":"SERVER/token"}`, true, Fault, `expected issuer "SERVER", got "SERVER/"`, `"SERVER/"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var s *httptest.Server
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.document == "" || !strings.HasSuffix(r.URL.Path, "/openid-configuration") {
					http.NotFound(w, r)
					return
				}
				fmt.Fprint(w, strings.ReplaceAll(tt.document, "SERVER", s.URL))
			}))
			defer s.Close()
			all, faults := provider.Parse("providers.json", []byte(`{"shop": {"display_name": "Shop", "available_scopes": ["a:read"], "api_base_url": "https://api.example",
				"client_id": "c", "client_secret": "s", "issuer": "`+s.URL+`"}}`), provider.Options{AllowHTTP: true})
			if faults != nil {
				t.Fatal(faults)
			}
			set, err := provider.NewSet(all...)
			if err != nil {
				t.Fatal(err)
			}
			settings := &config.Settings{Providers: set}
			settings.Development.AllowHTTP, settings.Development.AllowPrivateHosts = true, tt.allowPrivate
			d, f := &doctor{Config: Config{Settings: settings}, web: newWeb()}, &findings{subject: "providers"}
			sources, why, _ := d.sources(t.Context())
			if why != "" || len(sources) != 1 {
				t.Fatal(why)
			}
			d.issuer(t.Context(), &sources[0], f)
			wants(t, f.all, "providers.shop.issuer", tt.status, strings.ReplaceAll(tt.cause, "SERVER", s.URL), strings.ReplaceAll(tt.cure, "SERVER", s.URL))
			if got := sources[0].token != nil && sources[0].token.String() == s.URL+"/token"; got != tt.token {
				t.Errorf("the token endpoint is %v", sources[0].token)
			}
		})
	}
}
