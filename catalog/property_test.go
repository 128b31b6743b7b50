package catalog_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/athd/athd/catalog"
	"github.com/athd/athd/provider"
)

// serving are the providers of a replica, what each is, and what it knows of the store.
func (r *replica) serving() map[string]string {
	out := map[string]string{}
	r.providers.Current().Each(func(p *provider.Provider) bool {
		out[p.ID] = fmt.Sprint(p.Runtime, " ", p.ClientID, " ", p.Categories)
		return true
	})
	for _, e := range r.All() {
		out["record of "+e.ID] = fmt.Sprint(e.Generation, e.State, e.Shadowed)
	}
	return out
}

// Several athd add, change and remove the same providers at random, take other files,
// start anew, and lose Redis in between. In the end all of them serve the same, which
// is what was acknowledged last.
//
// proves: O-1
func TestWhateverManyAthdDoAtOnceTheyServeTheSameInTheEnd(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			files := []string{w.files, `{"filed": ` + fields("filed", "") + `, "p1": ` + fields("of-a-file", "") + `}`}
			all := []*replica{w.start(t), w.start(t), w.start(t)}
			current := w.files
			for step := range 150 {
				i := random.IntN(len(all))
				r, id := all[i], fmt.Sprint("p", random.IntN(5))
				var err error
				switch what := random.IntN(20); {
				case what < 7:
					_, err = r.Add(t.Context(), id, config(fmt.Sprint("c", step), ""), "ops")
				case what < 13:
					var record *catalog.Record
					if record, err = r.Read(t.Context(), id); err == nil {
						_, err = r.Change(t.Context(), record, config("c", fmt.Sprintf(`, "categories": ["n%d"]`, step)), "ops")
					}
				case what < 16:
					_, err = r.Remove(t.Context(), id, "ops")
				case what < 17:
					current = files[random.IntN(len(files))]
					for _, r := range all { // as a rollout does
						if err := r.UseFiles(t.Context(), set(t, current)); err != nil {
							t.Fatal(err)
						}
					}
				case what < 18:
					r.stop()
					w.files = current
					all[i] = w.start(t)
				case what < 19:
					err = r.Reparse(t.Context())
				default:
					w.redis.SetError("LOADING a partition")
					_, _ = r.Add(t.Context(), id, config("lost", ""), "ops")
					w.redis.SetError("")
				}
				known := []error{nil, catalog.ErrExists, catalog.ErrFile, catalog.ErrDraining, catalog.ErrNotFound, catalog.ErrChanged, catalog.ErrEnding}
				if !slices.ContainsFunc(known, func(want error) bool { return errors.Is(err, want) }) {
					t.Fatalf("step %d: %v", step, err)
				}
			}
			// Whoever starts now knows what is there.
			w.files = current
			fresh := w.start(t)
			until(t, "all serve what one serves that starts now", func() bool {
				want := fresh.serving()
				return !slices.ContainsFunc(all, func(r *replica) bool { return !maps.Equal(r.serving(), want) })
			})
		})
	}
}
