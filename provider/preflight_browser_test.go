package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// A server that shows its log-in page to browsers only, as Spring does, is asked
// as one.
func TestPreflightAsksForPagesAsABrowserDoes(t *testing.T) {
	server, err := url.Parse(oauthServer(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	to := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(server) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/authorize" && !strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	got, text := preflight(t, asking(t, srv.URL, nil), callback)
	if want := (verdicts{right, right, right, right}); got != want {
		t.Errorf("%+v, want %+v\n%s", got, want, text)
	}
}
