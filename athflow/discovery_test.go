package athflow

import (
	"net/http/httptest"
	"strings"
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

// proves: D-3
func TestDiscoveryShowsAProviderInTheVeryNextReply(t *testing.T) {
	first, err := provider.NewSet(&provider.Provider{ID: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	providers := provider.NewProviders(first)
	f := &Flow{Config: Config{Providers: providers, PublicURL: "https://gw.example", ConsentURL: "https://gw.example"}}
	ask := func(etag string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", ath.DiscoveryPath, nil)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		f.serveDiscovery(w, r)
		if c := w.Header().Get("Cache-Control"); c != "public, max-age=60" {
			t.Errorf("Cache-Control is %q", c)
		}
		return w
	}
	before := ask("")
	etag := before.Header().Get("ETag")
	if before.Code != 200 || !strings.HasPrefix(etag, `"`) || !strings.Contains(before.Body.String(), `"shop"`) {
		t.Fatalf("%d, ETag %s, %s", before.Code, etag, before.Body)
	}
	for _, same := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
		if w := ask(same); w.Code != 304 || w.Body.Len() > 0 || w.Header().Get("ETag") != etag {
			t.Errorf("If-None-Match %s: %d, %s", same, w.Code, w.Body)
		}
	}
	second, err := first.With(nil, &provider.Provider{ID: "depot", Runtime: true})
	if err != nil {
		t.Fatal(err)
	}
	providers.Replace(second)
	added := ask(etag)
	if added.Code != 200 || added.Header().Get("ETag") == etag || !strings.Contains(added.Body.String(), `"depot"`) {
		t.Errorf("after one was added: %d, %s", added.Code, added.Body)
	}
	providers.Replace(first)
	if gone := ask(added.Header().Get("ETag")); gone.Code != 200 || gone.Header().Get("ETag") != etag || strings.Contains(gone.Body.String(), `"depot"`) {
		t.Errorf("after it was removed: %d, %s", gone.Code, gone.Body)
	}
}
