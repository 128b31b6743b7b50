package provider

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A set that is made of another is the one that is made anew, whatever came and went.
func TestASetThatChangesIsTheOneThatIsMadeAnew(t *testing.T) {
	t.Run("few", func(t *testing.T) { changeAtRandom(t, 500, 40, 4) })
	t.Run("many", func(t *testing.T) { changeAtRandom(t, 200, 10*partSize, 3*partSize) })
}

func changeAtRandom(t *testing.T, steps, ids, changes int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	set, want := (*Set)(nil), map[string]*Provider{}
	for step := range steps {
		var gone []string
		var come []*Provider
		before := set
		for range random.IntN(changes) {
			id := fmt.Sprint("p", random.IntN(ids))
			if random.IntN(2) == 0 {
				gone = append(gone, id)
			} else if !slices.ContainsFunc(come, func(p *Provider) bool { return p.ID == id }) {
				p := &Provider{ID: id}
				if random.IntN(5) == 0 {
					p.AuthMethod = NoClientAuth
				}
				if random.IntN(3) == 0 {
					p.App, p.Aliases = &App{}, []string{"also-" + id}
				}
				come = append(come, p)
			}
		}
		var err error
		if set, err = set.With(gone, come...); err != nil {
			t.Fatal(err)
		}
		if secretless := slices.DeleteFunc(set.All(), func(p *Provider) bool { return p.AuthMethod != NoClientAuth }); !slices.Equal(set.open, secretless) {
			t.Fatalf("step %d: clients without a secret: %v and %v", step, set.open, secretless)
		}
		if slices.ContainsFunc(set.all, func(part []*Provider) bool { return len(part) == 0 || len(part) > partSize }) {
			t.Fatalf("step %d: a part has another size", step)
		}
		was := maps.Clone(want)
		for _, id := range gone {
			delete(want, id)
		}
		for _, p := range come {
			want[p.ID] = p
		}
		anew, err := NewSet(slices.Collect(maps.Values(want))...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(set.All(), func(a, b *Provider) int { return cmp.Compare(a.ID, b.ID) }) {
			t.Fatalf("step %d: they are not ordered", step)
		}
		if !slices.Equal(set.All(), anew.All()) || !slices.Equal(set.Apps(), anew.Apps()) || set.Len() != len(want) || set.byName.Len() != anew.byName.Len() {
			t.Fatalf("step %d: %v and %v", step, set.All(), anew.All())
		}
		for id := range was {
			for _, name := range []string{id, "also-" + id} {
				if set.Get(name) != anew.Get(name) {
					t.Fatalf("step %d: %s is %v and %v", step, name, set.Get(name), anew.Get(name))
				}
			}
		}
		left, came := Diff(before, set)
		for _, p := range left {
			if was[p.ID] != p || want[p.ID] == p {
				t.Fatalf("step %d: %s has left", step, p.ID)
			}
			delete(was, p.ID)
		}
		for _, p := range came {
			if was[p.ID] != nil || want[p.ID] != p {
				t.Fatalf("step %d: %s has come", step, p.ID)
			}
			was[p.ID] = p
		}
		if !maps.Equal(was, want) {
			t.Fatalf("step %d: the difference is not all", step)
		}
	}
	if _, err := set.With(nil, &Provider{ID: "x"}, &Provider{ID: "x"}); err == nil {
		t.Error("one id is given twice")
	}
	if _, err := set.With(nil, &Provider{ID: "x"}, &Provider{ID: "y", App: &App{}, Aliases: []string{"x"}}); err == nil {
		t.Error("another has the name")
	}
}

// What one provider of many costs is not what all cost: the others are not copied.
func TestAChangeOfOneProviderCopiesFewOthers(t *testing.T) {
	var all []*Provider
	for i := range 50 * partSize {
		all = append(all, &Provider{ID: fmt.Sprintf("p%05d", i)})
	}
	set, err := NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() (*Set, error){
		"replaced":          func() (*Set, error) { return set.With(nil, &Provider{ID: "p01000"}) },
		"removed":           func() (*Set, error) { return set.With([]string{"p01000"}) },
		"added":             func() (*Set, error) { return set.With(nil, &Provider{ID: "p01000a"}) },
		"added at the end":  func() (*Set, error) { return set.With(nil, &Provider{ID: "q"}) },
		"added at the head": func() (*Set, error) { return set.With(nil, &Provider{ID: "a"}) },
	} {
		next, err := change()
		if err != nil {
			t.Fatal(err)
		}
		if a, b := others(set.all, next.all); len(a) > partSize || len(b) > partSize+1 || len(a)+len(b) == 0 {
			t.Errorf("%s: %d and %d are copied", name, len(a), len(b))
		}
	}
}
