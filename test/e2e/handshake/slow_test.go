package handshake

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/athd/athd/provider"
)

// newWorldOfSlowTokens is newWorld with a token endpoint that answers once
// release is closed. Each request that it gets is in asked before.
func newWorldOfSlowTokens(t *testing.T) (w *world, asked, release chan struct{}) {
	asked, release = make(chan struct{}, 8), make(chan struct{})
	w = newWorld(t, func(c *settings) {
		gallery := *c.Providers.Current().Get("gallery")
		issuer := *gallery.TokenURL
		issuer.Path = ""
		proxy := httputil.NewSingleHostReverseProxy(&issuer)
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			<-release
			proxy.ServeHTTP(w, r)
		}))
		t.Cleanup(slow.Close)
		token, err := url.Parse(slow.URL + "/token")
		if err != nil {
			t.Fatal(err)
		}
		gallery.TokenURL = token
		set, err := provider.NewSet(&gallery)
		if err != nil {
			t.Fatal(err)
		}
		c.Providers = provider.NewProviders(set)
	})
	return w, asked, release
}
