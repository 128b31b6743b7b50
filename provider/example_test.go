package provider_test

import (
	"fmt"

	"github.com/athd/athd/provider"
)

// Parse returns the providers, or every fault of the file with its place.
func ExampleParse() {
	list, faults := provider.Parse("providers.json", []byte(`{"shop": {
		"display_name": "Shop", "available_scopes": ["products:read"],
		"authorize_endpoint": "https://login.shop.example/authorize", "token_endpoint": "https://login.shop.example/token",
		"api_base_url": "https://api.shop.example", "client_id": "athd", "client_secret": "secret",
		"scope_rules": [{"scope": "products:read", "methods": ["GET"], "paths": ["/products/**"]}]
	}}`), provider.Options{PublicURL: "https://gateway.example"})
	fmt.Println(len(faults), list[0].ID, list[0].ClientSecret)

	_, faults = provider.Parse("providers.json", []byte(`{
		"shop": {"display_name": "Shop", "available_scope": ["products:read"],
		"authorize_endpoint": "http://login.shop.example/authorize", "token_endpoint": "https://login.shop.example/token",
		"api_base_url": "https://api.shop.example", "client_id": "athd", "client_secret": "secret"}
	}`), provider.Options{PublicURL: "https://gateway.example"})
	fmt.Println(faults)
	// Output:
	// 0 shop [redacted]
	// providers.json:2:3: available_scopes: is missing
	// providers.json:2:36: unknown key "available_scope", did you mean "available_scopes"?
	// providers.json:3:3: authorize_endpoint: want an https URL
}
