package tokenstore_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// hasProviders: there were none yet in "standing", of the time when consents began to stand.
func (f fixture) hasProviders() bool { return f.stands() && f.name != "standing" }

func fixtureProviders() []tokenstore.RuntimeProvider {
	return []tokenstore.RuntimeProvider{
		{
			ID: "added", Config: ath.NewSecret(`{"client_secret":"of added"}`), Generation: 1,
			Former:  []tokenstore.FormerConfig{{Config: ath.NewSecret(`{"client_secret":"of before"}`), Until: fixtureTime}},
			Created: fixtureTime.Add(-time.Hour), CreatedBy: "ada", Changed: fixtureTime, ChangedBy: "grace",
		},
		{ID: "drains", State: tokenstore.ProviderDraining, Generation: 2, Created: fixtureTime, CreatedBy: "ada"},
	}
}

func writeFixtureProviders(t *testing.T, s *tokenstore.Store) {
	t.Helper()
	for _, p := range fixtureProviders() {
		held, err := s.RuntimeProvider(t.Context(), p.ID)
		noErr(t, err)
		_, err = s.SwapRuntimeProvider(t.Context(), held, p)
		noErr(t, err)
	}
}

func testFixtureProviders(t *testing.T, f fixture, s *tokenstore.Store) {
	ctx := t.Context()
	tags, err := s.RuntimeProviderTags(ctx)
	noErr(t, err)
	if !f.hasProviders() {
		equal(t, len(tags), 0)
		return
	}
	all, err := s.RuntimeProviders(ctx, tags, nil)
	noErr(t, err)
	slices.SortFunc(all, func(a, b tokenstore.ReadProvider) int { return int(a.Value.Generation) - int(b.Value.Generation) })
	want := fixtureProviders()
	equal(t, len(all), len(want))
	for i, p := range all {
		if p.Err != nil || !reflect.DeepEqual(p.Value, want[i]) {
			t.Errorf("%s reads as %+v, %v", want[i].ID, p.Value, p.Err)
		}
	}
	held, err := s.RuntimeProvider(ctx, "drains")
	noErr(t, err)
	noErr(t, s.RemoveRuntimeProvider(ctx, held))
	held, err = s.RuntimeProvider(ctx, "added")
	noErr(t, err)
	held, err = s.SwapRuntimeProvider(ctx, held, held.Value)
	noErr(t, err)
	equal(t, held.Value.Generation, 4)
}
