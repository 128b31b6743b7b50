package provider

import (
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

// proves: O-1
func TestNoAPIIsWhereAthdAnswers(t *testing.T) {
	var own Own
	own.AddURL("https://gw.example")
	own.AddURL("https://consent.example:8443")
	own.AddURL("")
	own.AddURL("not a URL")
	for _, h := range ath.MustParseHosts("shop.example", "internal.example:7000") {
		own.AddHost(h)
	}
	for _, at := range []string{"0.0.0.0:8080", "127.0.0.1:9901", ":9000", "10.1.2.3:9001", "athd:9002", "[::1]:9003", "127.0.0.1:0", "/run/athd.sock"} {
		own.AddListener(at)
	}
	for base, want := range map[string]bool{
		"https://gw.example": true, "https://gw.example:443/x": true, "https://GW.example./": true, "http://gw.example": true, "http://gw.example:8080/ath/token": true,
		"https://gw.example:10443": false, "https://api.gw.example": false, "https://example": false,
		"https://consent.example:8443/": true, "https://consent.example": true,
		"https://shop.example/api": true, "http://shop.example": true, "https://shop.example:8080": true, "https://shop.example:5000": false,
		"https://internal.example:7000": true, "https://internal.example:7001": false,
		"http://127.0.0.1:8080": true, "http://127.9.9.9:8080": true, "http://localhost:8080": true, "http://LOCALHOST.:8080": true, "http://x.localhost:9000": true,
		"http://0.0.0.0:9901": true, "http://[::]:9000": true, "http://[::1]:9001": true, "http://ip6-localhost:9003": true, "http://localhost.localdomain:9003": true,
		"http://10.1.2.3:9001": true, "http://10.1.2.3:9002": true, "http://10.1.2.4:9001": false, "http://athd:9002": true, "http://athd:80": true,
		"http://127.0.0.1:5000": false, "https://localhost:5000": false, "https://api.example": false,
	} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if got := own.Has(u); got != want {
			t.Errorf("%s: %v, want %v", base, got, want)
		}
	}
	if (Own{}).Has(&url.URL{Scheme: "https", Host: "gw.example"}) || own.Has(nil) {
		t.Error("what is nowhere has something")
	}
	of := func(more string) string {
		return `{"x": {"display_name": "X", "available_scopes": ["read"], "authorize_endpoint": "https://gw.example/authorize",
			"token_endpoint": "https://login.example/token", "client_id": "c", "client_secret": "s"` + more + `}}`
	}
	for name, c := range map[string]struct {
		more    string
		refused bool
	}{
		"written": {`, "api_base_url": "https://gw.example/ath/proxy/github"`, true},
		"at the OAuth server, as nothing says so": {``, true},
		"elsewhere": {`, "api_base_url": "https://api.example"`, false},
	} {
		_, faults := Parse("providers.json", []byte(of(c.more)), Options{PublicURL: "https://gw.example", Own: own})
		if refused := len(faults) > 0; refused != c.refused || refused && !strings.Contains(faults[0].Error(), "api_base_url") {
			t.Errorf("%s: %v", name, faults)
		}
	}
}
