package handshake

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
)

// proves: O-1
func TestAProviderWhoseRecordDoesNotOpenIsShownAndRemoved(t *testing.T) {
	redis := miniredis.RunT(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + redis.Addr(), Keyset: keys, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	onRedis := func(c *settings) { c.Store = store }
	newWorld(t, onRedis).add(t, elsewhere())
	if err := redis.Set("ath:{providers}:provider:"+string(tokenstore.ProviderTag("annex")), "\x01rubbish"); err != nil {
		t.Fatal(err)
	}

	w := newWorld(t, onRedis) // one that never knew the record
	if r := w.operate("GET", providersPath+"/annex", ""); r.status != http.StatusOK || r.text("provider_id") != "annex" || r.text("state") != "faulty" || r.text("problem") == "" {
		t.Errorf("it is shown as %d %s", r.status, r.raw)
	}
	for _, c := range []struct{ method, path, body string }{{"POST", "", elsewhere().text()}, {"PUT", "/annex", `{"display_name": "x"}`}} {
		if r := w.operate(c.method, providersPath+c.path, c.body); !r.is(409, "CONFLICT") || r.details()["reason"] != "record_corrupt" || !strings.Contains(r.text("message"), "DELETE") {
			t.Errorf("%s: %d %s", c.method, r.status, r.raw)
		}
	}
	since := len(w.log())
	if r := w.operate("DELETE", providersPath+"/annex", ""); r.status != http.StatusAccepted || !strings.Contains(r.text("message"), "did not open") {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if e := w.eventsOf(since, "provider_removed"); len(e) != 1 || e[0]["by"] != "ops" || e[0]["provider_id"] != "annex" || e[0]["before"] != `{"state":"faulty"}` {
		t.Errorf("U-1: %v", e)
	}
	go w.config.Catalog.Run(t.Context())
	for end := time.Now().Add(20 * time.Second); w.operate("GET", providersPath+"/annex", "").status != http.StatusNotFound; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never ends")
		}
	}
	tags, err := store.RuntimeProviderTags(t.Context())
	if err != nil || len(tags) > 0 {
		t.Errorf("the index has %v, %v", tags, err)
	}
	w.add(t, elsewhere())
}

func TestRemovalsCountAndOfWhatNobodyKnowsTheyMayBeTooMany(t *testing.T) {
	w := newWorld(t, func(c *settings) { c.Limits.ProviderChanges = ratelimit.Rate{N: 3, Per: time.Hour} })
	w.add(t, elsewhere())
	since := len(w.log())
	for range 2 {
		if r := w.operate("DELETE", providersPath+"/nobody", ""); !r.is(404, "NOT_FOUND") {
			t.Errorf("%d %s", r.status, r.raw)
		}
	}
	if r := w.operate("DELETE", providersPath+"/nobody", ""); !r.is(429, "RATE_LIMITED") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	tags, err := w.store.RuntimeProviderTags(t.Context())
	if err != nil || len(tags) != 1 || len(w.eventsOf(since, "provider_removed")) > 0 {
		t.Errorf("something was written for it: %v, %v", tags, err)
	}
	if r := w.operate("PUT", providersPath+"/annex", `{"display_name": "x"}`); !r.is(429, "RATE_LIMITED") {
		t.Errorf("removals do not count: %d %s", r.status, r.raw)
	}
	// What takes rights away is never too much.
	if r := w.operate("DELETE", providersPath+"/annex", ""); r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.raw)
	}
}
