package vault_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// A sleepyStore has a machine sleep when a refresh has begun: the clock on its wall
// is ahead then, and nothing else says so.
type sleepyStore struct {
	vault.Store
	begun int
	sleep func()
}

func (s *sleepyStore) BeginRefresh(ctx context.Context, r *tokenstore.Refresh, lease time.Duration) error {
	err := s.Store.BeginRefresh(ctx, r, lease)
	if s.begun++; s.begun == 1 && err == nil {
		s.sleep()
	}
	return err
}

// A machine that slept between the lease and the call does not make that call: by
// then another athd may be in one. It begins again.
//
// proves: P-6
func TestAMachineThatSleptDoesNotMakeTheCall(t *testing.T) {
	var store *sleepyStore
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, func(c *vault.Config) {
		store = &sleepyStore{Store: c.Store}
		c.Store = store
	})
	r := w.replicas[0]
	called := 0
	store.sleep = func() { r.later(time.Minute); called = w.endpoint.Calls() }
	c := w.connect(-time.Second)
	until(t, "it is refreshed", 5*time.Second, func() bool { d := r.ask(c); return d.Allowed() })
	if store.begun != 2 || called != 0 || w.endpoint.Calls() != 1 {
		t.Errorf("begun %d times, %d calls", store.begun, w.endpoint.Calls())
	}
}

// Work that waited for its time is done as the provider is configured then, and not
// at all where it is configured no more.
func TestARefreshAheadGoesByTheProviderOfItsTime(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, map[string]any{"refresh_margin": "2s"}, nil)
	var asked []string
	w.endpoint.Answers(func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		asked = append(asked, r.PostFormValue("client_secret"))
		return false
	})
	r, old := w.replicas[0], w.provider
	replace := func(list ...*provider.Provider) {
		t.Helper()
		set, err := provider.NewSet(list...)
		if err != nil {
			t.Fatal(err)
		}
		w.list.Replace(set)
	}
	rotated := *old
	rotated.ClientSecret = ath.NewSecret("the new client secret")
	c := w.connect(3 * time.Second)
	r.vault.Soon(old, grantOf(c), &c.first)
	replace(&rotated)
	until(t, "it is refreshed", 5*time.Second, func() bool { return w.renewed(c) })
	if len(asked) != 1 || asked[0] != "the new client secret" {
		t.Errorf("asked with %d secrets, or the old one", len(asked))
	}
	c = w.connect(2 * time.Second)
	r.vault.Soon(old, grantOf(c), &c.first)
	replace()
	steady(t, "nobody is asked", 2500*time.Millisecond, func() bool { return w.endpoint.Calls() == 1 })
}
