package oauthservers

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/oauthservers"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

// An API that takes some tokens no more answers 401 to many calls at once: real
// servers, whose refresh tokens are good for one use, are asked once, and all calls
// pass. Where it takes none at all, the grant lives on.
//
// proves: P-6
func TestARejectedTokenIsRefreshedAtRealServers(t *testing.T) {
	listen := reserve.Addr(t)
	upstream := stage.StartUpstream(t, nil)
	var mu sync.Mutex
	rejects := map[string]bool{} // users' tokens
	upstream.Serve("/products", func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		mu.Lock()
		defer mu.Unlock()
		if rejects[token] || rejects["all"] {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-User-Token", token)
	})
	reject := func(token string, does bool) {
		mu.Lock()
		defer mu.Unlock()
		rejects[token] = does
	}
	providers := map[string]any{}
	var servers []*oauthservers.Server
	for _, name := range oauthservers.Names {
		s := oauthservers.StartWith(t, name, oauthservers.Lives{Access: 600, Unused: 24 * 60 * 60}, "http://"+listen+ath.CallbackPath)
		fields := s.Fields(upstream.URL)
		fields["retry_on_401"] = true
		providers[name] = fields
		servers = append(servers, s)
	}
	st := stage.Start(t, stage.Options{Mode: "gateway", Embedded: true, Listen: listen, Providers: providers})
	for _, s := range servers {
		t.Run(s.Name, func(t *testing.T) {
			w := &world{t: t, stage: st, server: s.On(t)}
			b := browser.New()
			defer b.Close()
			a := w.agent(b, "rejected", "alice")
			old := w.call(a)
			if old.status != http.StatusOK || old.user == "" {
				t.Fatalf("before: %+v", old)
			}
			reject(old.user, true)
			for _, got := range together(30, func() answer { return w.call(a) }) {
				if got.status != http.StatusOK || got.user == old.user {
					t.Fatalf("a call with a rejected token: %+v", got)
				}
			}
			if n := w.sentTimes(w.refreshOf(old.user)); n != 1 {
				t.Errorf("its refresh token was sent %d times", n)
			}
			reject("all", true)
			defer reject("all", false)
			for _, got := range together(20, func() answer { return w.call(a) }) {
				if got.status != http.StatusUnauthorized || got.code != "" {
					t.Errorf("where the API takes no token: %+v", got)
				}
			}
			reject("all", false)
			if now := w.call(a); now.status != http.StatusOK || !w.server.Lives(now.user) || w.sentTimes(w.refreshOf(now.user)) != 0 {
				t.Errorf("afterwards: %+v", now)
			}
		})
	}
}
