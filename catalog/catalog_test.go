package catalog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// proves: O-1, D-3
func TestWhatIsAddedServesBeforeTheAnswerAndEverywhere(t *testing.T) {
	w := newWorld(t)
	one, two := w.start(t), w.start(t)
	e, err := one.Add(t.Context(), "shop", config("c", ""), "ops")
	if err != nil {
		t.Fatal(err)
	}
	if p := one.get("shop"); p == nil || !p.Runtime || p.ClientID != "c" {
		t.Fatalf("it answered, and %+v serves", p)
	}
	if e.ID != "shop" || e.CreatedBy != "ops" || e.ChangedBy != "ops" || e.Generation == 0 || e.Created.IsZero() || e.Provider == nil {
		t.Errorf("%+v", e)
	}
	until(t, "the other athd has it", func() bool { return two.get("shop") != nil })
	if got, ok := two.Get("shop"); !ok || got.CreatedBy != "ops" || got.Generation != e.Generation {
		t.Errorf("there it is %+v", got)
	}

	two.change(t, "shop", config("c", `, "categories": ["new"]`))
	if c := two.get("shop").Categories; !slices.Equal(c, []string{"new"}) {
		t.Errorf("it answered, and serves %v", c)
	}
	until(t, "the first has the change", func() bool { return len(one.get("shop").Categories) == 1 })
	if got, _ := one.Get("shop"); got.ChangedBy != "dev" || got.CreatedBy != "ops" || got.Generation <= e.Generation {
		t.Errorf("%+v", got)
	}

	if _, err := one.Remove(t.Context(), "shop", "ops"); err != nil {
		t.Fatal(err)
	}
	if one.get("shop") != nil {
		t.Error("it answered, and the removed one serves")
	}
	until(t, "it serves nowhere", func() bool { return two.get("shop") == nil })
	until(t, "the record is gone", func() bool { _, a := one.Get("shop"); _, b := two.Get("shop"); return !a && !b })
	until(t, "its end is on record", func() bool { // which is written behind it
		return strings.Contains(one.events.String()+two.events.String(), "provider_drained")
	})
	one.add(t, "shop", config("again", ""))
	until(t, "it can be added again", func() bool { p := two.get("shop"); return p != nil && p.ClientID == "again" })
}

// proves: O-1
func TestWhatIsThereIsNotAdded(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	r.add(t, "shop", config("c", ""))
	for id, want := range map[string]error{"shop": catalog.ErrExists, "filed": catalog.ErrFile} {
		if _, err := r.Add(t.Context(), id, config("c", ""), "ops"); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := r.Remove(t.Context(), "filed", "ops"); !errors.Is(err, catalog.ErrFile) {
		t.Errorf("what a file has is removed: %v", err)
	}
	if _, err := r.Remove(t.Context(), "nobody", "ops"); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("what is not there is removed: %v", err)
	}
	if _, err := r.Read(t.Context(), "nobody"); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("what is not there is read: %v", err)
	}
	if _, err := r.Add(t.Context(), "wrong", config("", ""), "ops"); err == nil || r.get("wrong") != nil {
		t.Error("what does not parse is added")
	}
	if _, err := r.Add(t.Context(), "default", config("c", ""), "ops"); err == nil {
		t.Error("the reserved id is added")
	}
}

func TestOfTwoChangesOfOneProviderOneIsTold(t *testing.T) {
	w := newWorld(t)
	one, two := w.start(t), w.start(t)
	one.add(t, "shop", config("c", ""))
	a, err := one.Read(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Read(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if a.Generation() != b.Generation() || a.Config().Reveal() != fields("c", "") || a.ID() != "shop" {
		t.Errorf("%+v", a)
	}
	if _, err := one.Change(t.Context(), a, config("c", `, "categories": ["one"]`), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Change(t.Context(), b, config("c", `, "categories": ["two"]`), "x"); !errors.Is(err, catalog.ErrChanged) {
		t.Errorf("the other is made: %v", err)
	}
}

// proves: O-1
func TestNameOfAFileWins(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	r.add(t, "shop", config("runtime", ""))
	if err := r.UseFiles(t.Context(), set(t, `{"filed": `+fields("filed", "")+`, "shop": `+fields("file", "")+`}`)); err != nil {
		t.Fatal(err)
	}
	if p := r.get("shop"); p.Runtime || p.ClientID != "file" {
		t.Errorf("%+v serves", p)
	}
	if got := r.Shadowed(); !slices.Equal(got, []string{"shop"}) || !strings.Contains(r.log.String(), "a file has the name of a run-time provider") {
		t.Errorf("shadowed are %v, the log has %s", got, r.log)
	}
	if e, _ := r.Get("shop"); !e.Shadowed {
		t.Error("it is not said")
	}
	// Whoever starts with the files of today is in the same state.
	w.files = `{"shop": ` + fields("file", "") + `}`
	if p := w.start(t).get("shop"); p.Runtime {
		t.Error("another athd serves the other")
	}
	if err := r.UseFiles(t.Context(), set(t, `{"filed": `+fields("filed", "")+`}`)); err != nil {
		t.Fatal(err)
	}
	if p := r.get("shop"); p == nil || !p.Runtime || len(r.Shadowed()) > 0 {
		t.Errorf("the file has left the name, and %+v serves", p)
	}
}

func TestUntilTheStoreWasReadNobodySaysThatThereIsNoSuchProvider(t *testing.T) {
	w := newWorld(t)
	first := w.start(t)
	first.add(t, "shop", config("c", ""))
	r := w.make(t)
	if r.Loaded() || r.providers.Current().Loaded() || r.get("filed") == nil {
		t.Fatal("it was not read yet")
	}
	w.redis.SetError("LOADING")
	if err := r.Load(t.Context()); err == nil || r.Loaded() {
		t.Fatalf("it was read of a server that is away: %v", err)
	}
	if err := r.UseFiles(t.Context(), set(t, `{"other": `+fields("c", "")+`}`)); err != nil || r.providers.Current().Loaded() || r.get("other") == nil {
		t.Fatalf("files are taken without the store: %v", err)
	}
	r.run(t)
	w.redis.SetError("")
	until(t, "it is read when the server is back", func() bool { return r.Loaded() && r.providers.Current().Loaded() && r.get("shop") != nil })
}

func TestRecordThatCannotBeReadIsUnavailableAndNoOther(t *testing.T) {
	w := newWorld(t)
	one := w.start(t)
	for _, id := range []string{"a", "b", "c"} {
		one.add(t, id, config(id, ""))
	}
	older := w.start(t, func(c *catalog.Config) {
		c.Parse = func(id string, data []byte) (*provider.Provider, error) {
			if id == "a" || strings.Contains(string(data), "of-tomorrow") {
				return nil, errors.New("preset: there is none of this name")
			}
			return parse(id, data)
		}
	})
	if older.get("a") != nil || older.get("b") == nil || older.get("c") == nil || older.get("filed") == nil {
		t.Error("of three one cannot be read; others are missing, or it serves")
	}
	if e, ok := older.Get("a"); !ok || e.Err == nil || e.Provider != nil || e.CreatedBy != "ops" {
		t.Errorf("%+v", e)
	}
	until(t, "it is told", func() bool { return strings.Contains(older.log.String(), "provider_id=a") })
	one.change(t, "b", config("b", `, "categories": ["of-tomorrow"]`))
	until(t, "one that cannot be read any more does not serve as it was", func() bool { return older.get("b") == nil })
	one.change(t, "b", config("b", ""))
	until(t, "it is back", func() bool { return older.get("b") != nil })

	// Bytes of somebody else.
	key := "ath:{providers}:provider:" + string(tokenstore.ProviderTag("c"))
	good, err := w.redis.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	w.redis.Set(key, "\x01rubbish")
	if err := one.Reparse(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, ok := one.Get("c"); !ok || !errors.Is(e.Err, tokenstore.ErrCorrupt) || one.get("c") != nil || one.get("b") == nil {
		t.Errorf("%+v", e)
	}
	w.redis.Set(key, good)
	if err := one.Load(t.Context()); err != nil || one.get("c") == nil {
		t.Errorf("it opens again, and does not serve: %v", err)
	}
}

func TestAPanicOverOneRecordEndsNothing(t *testing.T) {
	w := newWorld(t)
	newer := w.start(t)
	newer.add(t, "bad", config("c", ""))
	newer.add(t, "good", config("c", ""))
	r := w.start(t, func(c *catalog.Config) {
		c.Parse = func(id string, data []byte) (*provider.Provider, error) {
			if id == "bad" {
				panic(string(data))
			}
			return parse(id, data)
		}
	})
	if e, known := r.Get("bad"); !known || e.Err == nil || e.Provider != nil || r.get("bad") != nil || r.get("good") == nil {
		t.Errorf("%+v; good: %v", e, r.get("good"))
	}
	if strings.Contains(r.log.String(), "s3cret") {
		t.Error("what panicked is in the log")
	}
}

// A run-time provider of which the issuer alone is known is asked for at once.
//
// proves: C-2
func TestIssuerOfAProviderThatIsAddedIsAsked(t *testing.T) {
	w := newWorld(t)
	one, two := w.start(t), w.start(t)
	one.add(t, "shop", ath.NewSecret(`{"display_name": "X", "available_scopes": ["a"], "client_id": "c", "client_secret": "s", "api_base_url": "https://api.example", "issuer": "https://login.example"}`))
	for _, r := range []*replica{one, two} {
		until(t, "its endpoints are known", func() bool { p := r.get("shop"); return p != nil && p.Ready() && p.TokenURL.Path == "/token" })
	}
	if _, err := one.Remove(t.Context(), "shop", "ops"); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*replica{one, two} {
		until(t, "it is let go", func() bool { return r.get("shop") == nil && len(r.issuers.Status()) == 0 })
	}
}
