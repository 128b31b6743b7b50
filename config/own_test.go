package config

import (
	"net/url"
	"testing"

	"github.com/athd/athd/config/configtest"
)

// proves: O-1
func TestOwnPlacesAreThoseOfTheConfiguration(t *testing.T) {
	s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(map[string]string{
		"consent_url": "https://consent.example:8443",
		"listen":      "{grpc: '127.0.0.1:9001', http: '127.0.0.1:9002', admin: '127.0.0.1:9003'}",
		"envoy":       "{listen: '0.0.0.0:8080', admin: '127.0.0.1:9901', athd_grpc: ['athd-1:9101', 'athd-2:9101'], athd_http: 'athd-1:9102'}",
		"apps": "[{app_id: shop, upstream: 'http://127.0.0.1:3000', hosts: [shop.example], audience: 'https://shop-base.example', available_scopes: [products:read], " +
			"oauth: {authorize_endpoint: https://l.example.com/a, token_endpoint: https://l.example.com/t, client_id: i, client_secret: s}}]",
	})), sources(configtest.NewMachine(t)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	own, public := s.Own(), s.PublicURL
	for base, want := range map[string]bool{
		public: true, public + ":8080/x": true, "https://consent.example:8443": true, "https://shop.example/": true, "https://shop-base.example": true,
		"http://127.0.0.1:9001": true, "http://localhost:9002": true, "http://127.0.0.1:9003": true, "http://localhost:8080": true, "http://127.0.0.1:9901": true,
		"http://athd-2:9101": true, "http://athd-1:9102": true,
		"http://127.0.0.1:3000": false, "https://api.example": false,
	} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if got := own.Has(u); got != want {
			t.Errorf("%s: %v, want %v", base, got, want)
		}
	}
}
