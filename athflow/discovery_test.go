package athflow

import (
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// F-25
// proves: D-2
func TestDiscoveryFindsTheAppOfAHost(t *testing.T) {
	app := func(id string, hosts ...string) *provider.Provider {
		return &provider.Provider{ID: id, App: &provider.App{Hosts: ath.MustParseHosts(hosts...)}}
	}
	set, err := provider.NewSet(app("shop", "Shop.Example."), app("blog", "blog.example:8443"), app("six", "[0:0::1]:80"))
	if err != nil {
		t.Fatal(err)
	}
	f := &Flow{Config: Config{Providers: provider.NewProviders(set)}}
	for host, want := range map[string]string{
		"shop.example": "shop", "SHOP.example.:0443": "shop", "blog.example": "blog", "blog.example:1": "blog", "[::1]": "six", "[::1]:8080": "six",
		"": "", "x.shop.example": "", "shop.example..": "", "shop.example,blog.example": "",
	} {
		got := ""
		if p := f.appFor(host); p != nil {
			got = p.ID
		}
		if got != want {
			t.Errorf("%q is the app %q, want %q", host, got, want)
		}
	}
}
