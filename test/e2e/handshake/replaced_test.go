package handshake

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
)

func listedIn(r reply) string {
	var ids []string
	for _, p := range r.list("supported_providers") {
		ids = append(ids, p.(map[string]any)["provider_id"].(string))
	}
	return fmt.Sprint(ids)
}

// While providers are replaced, each step of the handshake and each decision
// answers as one of the sets would have it; afterwards as the last one does.
func TestProvidersAreReplacedWhileHandshakesRun(t *testing.T) {
	w := newWorld(t, func(c *settings) {
		c.Limits.PerAddress, c.Limits.Registrations = ratelimit.Unlimited, ratelimit.Unlimited
	})
	all := w.config.Providers
	without, err := provider.NewSet(w.set.Get("shop"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := authz.New(authz.Config{Store: w.store, Providers: all, Audit: w.config.Audit, Logger: w.config.Logger, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	a := w.actor("calls")
	if r := a.register("gallery", "pictures:read"); r.status != http.StatusCreated {
		t.Fatal(r.raw)
	}
	token := a.token("gallery", "pictures:read").text("access_token")
	decide := func() authz.Reason {
		decision := d.Decide(t.Context(), authz.Request{
			Method: "GET", Path: "/ath/proxy/gallery/pictures/1", Provider: "gallery", Mount: "/ath/proxy/gallery/",
			Authorization: []string{"Bearer " + token}, AgentID: []string{a.id},
		})
		return decision.Reason()
	}

	asks := []func(){
		func() {
			if got := decide(); got != authz.Allowed && got != authz.ProviderUnknown {
				t.Errorf("a decision: %s", got)
			}
		},
		func() {
			if got := listedIn(w.ask("GET", "/.well-known/ath.json", "")); got != "[gallery shop]" && got != "[shop]" {
				t.Errorf("discovery lists %s", got)
			}
		},
		func() {
			r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read"))
			if r.status != http.StatusCreated && r.status != http.StatusOK && r.status != http.StatusConflict {
				t.Errorf("register: %d %s", r.status, r.raw)
			}
		},
		func() {
			r := w.post("/ath/authorize", a.authorization("gallery", "pictures:read"))
			if r.status >= 500 {
				t.Errorf("authorize: %d %s", r.status, r.raw)
			}
		},
		func() {
			if r := w.operate("GET", "/ath/admin/providers", ""); r.status != http.StatusOK {
				t.Errorf("operators' list: %d %s", r.status, r.raw)
			}
		},
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	for _, ask := range asks {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					ask()
				}
			}
		})
	}
	for range 100 {
		all.Replace(without)
		if got := decide(); got != authz.ProviderUnknown {
			t.Errorf("the next decision about a provider that was removed: %s", got)
		}
		if got := listedIn(w.ask("GET", "/.well-known/ath.json", "")); got != "[shop]" {
			t.Errorf("discovery still lists %s", got)
		}
		all.Replace(w.set)
		if got := decide(); got != authz.Allowed {
			t.Errorf("the next decision about a provider that is there again: %s", got)
		}
	}
	close(done)
	running.Wait()
}

// A user who is on the way when the provider is removed gets no further.
func TestOpenAuthorizationEndsWithItsProvider(t *testing.T) {
	w := newWorld(t)
	a := w.actor("on-the-way")
	if r := a.register("gallery", "pictures:read"); r.status != http.StatusCreated {
		t.Fatal(r.raw)
	}
	link, _ := a.authorize("gallery", []string{"pictures:read"})
	without, err := provider.NewSet(w.set.Get("shop"))
	if err != nil {
		t.Fatal(err)
	}
	w.config.Providers.Replace(without)
	page, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if page.StatusCode < 400 || page.StatusCode >= 500 {
		t.Errorf("the consent page of a provider that was removed answers %d", page.StatusCode)
	}
	w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "PROVIDER_NOT_APPROVED")
}
