package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/config"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
	"github.com/athd/athd/tokenstore"
)

// What is stricter from now on is so for run-time providers, too, also where Redis was
// away when it was taken first.
func TestAConfigurationThatCouldNotBeTakenIsTakenWholeLater(t *testing.T) {
	redis := miniredis.RunT(t)
	known, providers, set := withShop(t, redis)
	strict := &config.Settings{Providers: set, StrictScopes: true}
	redis.SetError("LOADING")
	if err := known.use(t.Context(), strict); err == nil {
		t.Fatal("it was taken without redis")
	}
	if providers.Current().Get("filed") != nil {
		t.Error("a part of it was taken")
	}
	redis.SetError("")
	if err := known.use(t.Context(), strict); err != nil {
		t.Fatal(err)
	}
	if providers.Current().Get("shop") != nil || providers.Current().Get("filed") == nil {
		t.Error("a rule that derives from a name goes on though strict_scopes refuses it, or the file's provider is not there")
	}
}

// A file with one OAuth server is sound, and is not beside another one's provider that
// was added while athd ran.
//
// proves: C-2
func TestFilesAreJudgedBesideTheRunTimeProviders(t *testing.T) {
	known, providers, _ := withShop(t, miniredis.RunT(t))
	public, faults := provider.Parse("providers.json", []byte(`{"filed": {"display_name": "X", "available_scopes": ["a:read"], "client_id": "c", "token_auth_method": "none",
		"authorize_endpoint": "https://other.example/authorize", "token_endpoint": "https://other.example/token", "api_base_url": "https://api.example"}}`), provider.Options{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(public...)
	if err != nil {
		t.Fatal(err)
	}
	if err := known.use(t.Context(), &config.Settings{Providers: set}); err == nil || !strings.Contains(err.Error(), provider.MixUp) || providers.Current().Get("filed") != nil {
		t.Errorf("a client without a secret beside another server: %v", err)
	}
	if err := known.use(t.Context(), &config.Settings{Providers: set, CallbackPerProvider: true}); err != nil {
		t.Errorf("with a redirect URI for each: %v", err)
	}
}

// withShop is a catalog without files' providers, and with the run-time provider shop;
// and a set of files with another one at the same server.
func withShop(t *testing.T, redis *miniredis.Miniredis) (*providerCatalog, *provider.Providers, *provider.Set) {
	t.Helper()
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + redis.Addr(), Keyset: keys, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	none, err := provider.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	log, providers, trail := slog.New(slog.DiscardHandler), provider.NewProviders(none), audit.New(audit.Config{Writer: &bytes.Buffer{}})
	t.Cleanup(func() { trail.Close() })
	issuers, err := issuer.New(issuer.Config{
		Store: store, Providers: providers, Audit: trail, Logger: log,
		Fetch: func(context.Context, *provider.Provider) (*metadata.Document, error) { return nil, context.Canceled },
	})
	if err != nil {
		t.Fatal(err)
	}
	known, err := newCatalog(&config.Settings{Providers: none}, store, issuers, providers, trail, log)
	if err != nil {
		t.Fatal(err)
	}
	added := ath.NewSecret(`{"display_name": "X", "available_scopes": ["a:read"], "client_id": "c", "client_secret": "s",
		"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token", "api_base_url": "https://api.example"}`)
	if err := known.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := known.Add(t.Context(), "shop", added, "ops"); err != nil {
		t.Fatal(err)
	}
	if p := providers.Current().Get("shop"); p == nil || !p.Derived {
		t.Fatalf("%+v", p)
	}
	files, faults := provider.Parse("providers.json", []byte(`{"filed": `+added.Reveal()+`}`), provider.Options{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(files...)
	if err != nil {
		t.Fatal(err)
	}
	return known, providers, set
}
