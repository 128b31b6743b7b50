package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// A keysStatus is what status prints with -o json.
type keysStatus struct {
	Keyset string      `json:"keyset"` // the file
	Seals  uint32      `json:"seals"`
	Canary uint32      `json:"canary,omitzero"` // the key that sealed the canary
	Keys   []keyStatus `json:"keys"`
	// Nameless are records that name no key, by their kind.
	Nameless map[string]int       `json:"nameless,omitempty"`
	Marks    int                  `json:"marks,omitzero"` // that users were ended, of any key
	Replicas []tokenstore.Replica `json:"replicas"`
	// Retired are keys that were, and when.
	Retired map[uint32]time.Time `json:"retired"`
	Next    string               `json:"next"`
}

type keyStatus struct {
	tokenstore.KeyUse
	// Retirable: nothing needs it.
	Retirable bool `json:"retirable"`
	// Needs are what needs it, for people.
	Needs []string `json:"needs,omitempty"`
}

func newKeysStatus(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "status",
		Short:   "list the keys, what needs each, and which athd has which",
		Example: "  athd keys status --config athd.yaml",
	}
	path := cli.ConfigFlag(c)
	keyset := keysetFlag(c, false)
	format := cli.FormatFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return withKeys(c.Context(), t, *path, *keyset, func(ctx context.Context, k *keysRun) error {
			s, err := k.status(ctx)
			if err != nil {
				return err
			}
			if *format == cli.JSON {
				return t.JSON(s)
			}
			return s.print(t)
		})
	}
	return c
}

func (k *keysRun) status(ctx context.Context) (*keysStatus, error) {
	out := &keysStatus{Keyset: k.place.String(), Seals: k.place.keys.Primary()}
	uses, err := k.store.KeyUses(ctx)
	if err != nil {
		return nil, err
	}
	if out.Replicas, err = k.store.Replicas(ctx); err != nil {
		return nil, err
	}
	if out.Retired, err = k.store.RetiredKeys(ctx); err != nil {
		return nil, err
	}
	out.Canary, _ = k.store.CanaryKey(ctx) // a store that is empty has none
	out.Nameless, out.Marks = uses.Nameless, uses.Marks
	for _, u := range uses.Keys {
		of := keyStatus{KeyUse: u, Needs: neededFor(uses, u.ID)}
		for i := range out.Replicas {
			if r := &out.Replicas[i]; r.Primary == u.ID && !u.Primary {
				of.Needs = append(of.Needs, replicaName(*r)+" seals with it")
			} else if lacks := sealsOtherwise(r, out.Seals); lacks != "" && !u.Primary && !u.Missing {
				of.Needs = append(of.Needs, replicaName(*r)+" "+lacks)
			}
		}
		of.Retirable = !u.Primary && !u.Missing && uses.Unused(u.ID) && len(of.Needs) == 0
		out.Keys = append(out.Keys, of)
	}
	if out.Replicas == nil {
		out.Replicas = []tokenstore.Replica{}
	}
	out.Next = out.next()
	return out, nil
}

// next is the step of a rotation that comes next.
func (s *keysStatus) next() string {
	var old, fresh []keyStatus
	behind := false
	for _, of := range s.Keys {
		switch {
		case of.Missing && len(of.Records) > 0:
			return fmt.Sprintf("records are sealed with %s, which the keyset lacks: put a keyset with it in its place (athd keys retire --keep has kept one)", tokenstore.KeyName(of.ID))
		case of.Missing || !of.Enabled:
		case of.Primary:
			behind = true
		case behind && !slices.ContainsFunc(s.Replicas, func(r tokenstore.Replica) bool { return r.Primary == of.ID }) && len(of.Records) == 0:
			fresh = append(fresh, of)
		default:
			old = append(old, of)
		}
	}
	for _, r := range s.Replicas {
		if r.Refused != "" {
			return replicaName(r) + " refuses the file of its keyset: see there"
		}
	}
	switch {
	case len(fresh) > 0:
		id := fresh[0].ID
		for _, r := range s.Replicas {
			if !r.Has(id) {
				return fmt.Sprintf("give every athd the keyset with %s; then athd keys promote %d", tokenstore.KeyName(id), id)
			}
		}
		return fmt.Sprintf("athd keys promote %d", id)
	case len(old) == 0:
		return "nothing: athd keys add begins a rotation"
	}
	for _, of := range old {
		if of.Retirable {
			return fmt.Sprintf("athd keys retire %d", of.ID)
		}
	}
	for i := range s.Replicas {
		if lacks := sealsOtherwise(&s.Replicas[i], s.Seals); lacks != "" {
			return fmt.Sprintf("give every athd this keyset: %s %s", replicaName(s.Replicas[i]), lacks)
		}
	}
	return "athd keys rewrap"
}

func (s *keysStatus) print(t terminal) error {
	fmt.Fprintf(t.Stdout, "keyset %s\n\n", s.Keyset)
	w := tabwriter.NewWriter(t.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tSTATUS\tRECORDS\tNEEDED FOR")
	for _, of := range s.Keys {
		state, needs := "opens", strings.Join(of.Needs, ", ")
		switch {
		case of.Missing:
			state = "missing"
		case !of.Enabled:
			state = "disabled"
		case of.Primary:
			state = "seals"
		case needs == "":
			needs = "nothing: it can be retired"
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\n", of.ID, state, sum(of.Records), needs)
	}
	if n := sum(s.Nameless); n > 0 {
		fmt.Fprintf(w, "none\tunknown\t%d\trecords that name no key: athd did not write them\n", n)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t.Stdout)
	if len(s.Replicas) == 0 {
		fmt.Fprintln(t.Stdout, "no athd tells that it runs; one from before these commands does not tell")
	} else {
		fmt.Fprintln(w, "REPLICA\tVERSION\tSEALS WITH\tHAS\tTOLD")
		for _, r := range s.Replicas {
			ids := make([]string, len(r.Keys))
			for i, id := range r.Keys {
				ids[i] = strconv.FormatUint(uint64(id), 10)
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s ago\n", replicaName(r), visible(r.Version), r.Primary, strings.Join(ids, " "), max(0, time.Since(r.At)).Truncate(time.Second))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(t.Stdout, "\nnext: %s\n", s.Next)
	return err
}
