package doctor

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath/api"
)

func TestProvidersThatWereAddedAreLookedAt(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	of := func(id, state string, change func(*api.Provider)) api.Provider {
		p := api.Provider{ID: id, Origin: api.ProviderOfRuntime, State: state, Changed: "2026-11-29T11:00:00Z"}
		if change != nil {
			change(&p)
		}
		return p
	}
	file := api.Provider{ID: "gallery", Origin: api.ProviderOfFile, State: api.ProviderActive}
	for name, c := range map[string]struct {
		list  api.ProviderList
		id    string
		want  Status
		cause string
	}{
		"none": {api.ProviderList{Providers: []api.Provider{file}}, "runtime.all", OK, ""},
		"one":  {api.ProviderList{Runtime: &api.RuntimeRoute{}, Providers: []api.Provider{file, of("a", api.ProviderActive, nil)}}, "runtime.all", OK, ""},
		"no route": {api.ProviderList{Providers: []api.Provider{of("a", api.ProviderActive, nil)}},
			"runtime.route", Fault, "envoy.runtime_providers is false"},
		"unread": {api.ProviderList{RuntimeUnknown: true}, "runtime.all", Fault, "has not read them"},
		"faulty": {api.ProviderList{Providers: []api.Provider{of("a", api.ProviderFaulty, func(p *api.Provider) { p.Problem = "preset: is gone" })}},
			"runtime.a", Fault, "preset: is gone"},
		"shadowed": {api.ProviderList{Providers: []api.Provider{of("gallery", api.ProviderShadowed, nil)}}, "runtime.gallery", Warning, "a file defines"},
		"draining": {api.ProviderList{Providers: []api.Provider{of("a", api.ProviderDraining, nil)}}, "runtime.all", OK, ""},
		"draining long": {api.ProviderList{Providers: []api.Provider{of("a", api.ProviderDraining, func(p *api.Provider) { p.Changed = "2026-11-27T11:00:00Z" })}},
			"runtime.a", Warning, "connections of it are left"},
		"issuer unknown": {api.ProviderList{Runtime: &api.RuntimeRoute{}, Providers: []api.Provider{of("a", api.ProviderActive, func(p *api.Provider) { p.Metadata = &api.Metadata{Error: "no connection"} })}},
			"runtime.a.issuer", Fault, "no connection"},
		"issuer away": {api.ProviderList{Runtime: &api.RuntimeRoute{}, Providers: []api.Provider{of("a", api.ProviderActive, func(p *api.Provider) { p.Metadata = &api.Metadata{Known: true, Error: "no connection"} })}},
			"runtime.a.issuer", Warning, "cannot be had now"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &doctor{Config: Config{Now: func() time.Time { return now }, Ask: func(_ context.Context, _ string, into any) error {
				*into.(*api.ProviderList) = c.list
				return nil
			}}}
			f := &findings{subject: "runtime"}
			d.runtime(t.Context(), f)
			if len(f.all) != 1 || f.all[0].ID != c.id || f.all[0].Status != c.want || !strings.Contains(f.all[0].Cause, c.cause) || c.want != OK && f.all[0].Cure == "" {
				t.Errorf("%+v", f.all)
			}
		})
	}
}
