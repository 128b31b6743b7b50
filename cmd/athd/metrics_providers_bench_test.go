package main

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/athd/athd/config"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/provider"
)

// What a change of one of 10,000 run-time providers costs in all: the set, what
// decisions, pages and metrics derive of it, and that it becomes current.
//
//	go test ./cmd/athd -run - -bench OneOfManyProviders
func BenchmarkChangeOfOneOfManyProviders(b *testing.B) {
	const n = 10_000
	s, faults := config.Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(nil)), sources(configtest.NewMachine(b)))
	if faults != nil {
		b.Fatal(faults)
	}
	a, err := assemble(s, slog.New(slog.DiscardHandler), io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	defer a.store.Close()
	defer a.trail.Close()
	all := make([]*provider.Provider, n)
	for i := range all {
		text := fmt.Sprintf(`{"display_name": "X", "available_scopes": ["a:read", "a:write"], "client_id": "c%[1]d", "client_secret": "s", "api_base_url": "https://api%[1]d.example",
			"authorize_endpoint": "https://login%[1]d.example/authorize", "token_endpoint": "https://login%[1]d.example/token"}`, i)
		p, faults := provider.ParseOne(fmt.Sprintf("p%05d", i), []byte(text), s.RuntimeProviderOptions())
		if faults != nil {
			b.Fatal(faults)
		}
		all[i] = p
	}
	set, err := s.Providers.With(nil, all...)
	if err != nil {
		b.Fatal(err)
	}
	if err := a.issuers.Configure(b.Context(), set); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := *all[i%n]
		if set, err = set.With(nil, &p); err != nil {
			b.Fatal(err)
		}
		if err := a.issuers.Configure(b.Context(), set); err != nil {
			b.Fatal(err)
		}
	}
	if a.providers.Current().Len() != n+s.Providers.Len() {
		b.Error("some are lost")
	}
}
