package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

func newKeysRetire(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "retire KEY",
		Short: "take a key out of the keyset, which nothing needs any more",
		Example: "  athd keys retire 1096734212 --config athd.yaml --keep keyset-before.json\n" +
			"  athd keys retire 1096734212 --config athd.yaml --discard",
		Args: cobra.ExactArgs(1),
	}
	path := cli.ConfigFlag(c)
	keyset := keysetFlag(c, true)
	fleet := fleetFlags(c)
	keep := c.Flags().String("keep", "", "write the keyset as it is to a new `file` first: backups of Redis from before need it")
	discard := c.Flags().Bool("discard", false, "keep the key nowhere: backups of Redis from before are worth nothing then")
	format := cli.FormatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := keyID(args[0])
		switch {
		case err != nil:
			return err
		case *keep == "" && !*discard:
			return cli.Wrong("--keep FILE keeps the keyset as it is, for backups of Redis from before; --discard does not")
		case *keep != "" && *discard:
			return cli.Wrong("either --keep or --discard")
		}
		return withKeys(c.Context(), t, *path, *keyset, func(ctx context.Context, k *keysRun) error {
			if err := k.place.forPrograms(*format); err != nil {
				return err
			}
			return k.retire(ctx, id, *keep, fleet, *format)
		})
	}
	return c
}

// retire looks at all that could need the key before it goes.
func (k *keysRun) retire(ctx context.Context, id uint32, keep string, fleet *fleet, format cli.Format) error {
	p := k.place
	next, err := p.keys.Retire(id)
	if err != nil {
		return k.cannot(id, err)
	}
	seen := map[string]bool{}
	if err := fleet.wait(ctx, k, func(r *tokenstore.Replica) string {
		seen[r.ID] = true
		return sealsOtherwise(r, p.keys.Primary())
	}, "give each athd this keyset; it is read within five seconds. --wait 2m waits for the last one"); err != nil {
		return err
	}
	uses, err := k.store.KeyUses(ctx)
	if err != nil {
		return err
	}
	if needs := neededFor(uses, id); len(needs) > 0 {
		return fmt.Errorf("%s is needed:\n  %s\nnext: %s", tokenstore.KeyName(id), strings.Join(needs, "\n  "), k.afterUses(uses, id))
	}
	// That may have taken minutes, and an athd that started with an older file meanwhile
	// has sealed behind who looked.
	missing, err := fleet.missing(ctx, k, func(r *tokenstore.Replica) string {
		if !seen[r.ID] {
			return "has started while it was looked who needs the key"
		}
		return sealsOtherwise(r, p.keys.Primary())
	})
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("nothing was changed:\n  %s\nnext: athd keys retire %d again", strings.Join(missing, "\n  "), id)
	}
	if keep != "" {
		if err := p.keep(keep); err != nil {
			return err
		}
	}
	if err := k.store.MarkRetired(ctx, id); err != nil {
		return err
	}
	if err := p.write(next); err != nil {
		return err
	}
	then := "give every athd this keyset"
	if keep != "" {
		then += ", and put " + keep + " where backups of Redis from before are kept: only with it they open"
	} else {
		then += "; backups of Redis from before do not open any more: make one now"
	}
	return p.told(format, keysEdit{Seals: next.Primary(), Retired: id, Kept: keep, Keys: next.Keys(), Next: then},
		fmt.Sprintf("retired %s: nothing needed it; %s seals", tokenstore.KeyName(id), tokenstore.KeyName(next.Primary())))
}

// keep writes the keyset as it is to a new file.
func (p *keysetPlace) keep(path string) error {
	data, err := p.keys.Marshal()
	if err != nil {
		return err
	}
	return writeNew(path, append(data, '\n'))
}

// sealsOtherwise says that an athd does not seal with a key; "": it does.
func sealsOtherwise(r *tokenstore.Replica, id uint32) string {
	switch {
	case !r.Has(id):
		return "does not have " + tokenstore.KeyName(id)
	case r.Primary != id:
		return "seals with " + tokenstore.KeyName(r.Primary) + " still"
	}
	return ""
}

// neededFor lists what would be lost with a key.
func neededFor(uses *tokenstore.KeyUses, id uint32) []string {
	u := uses.Of(id)
	var needs []string
	for _, kind := range slices.Sorted(maps.Keys(u.Records)) {
		needs = append(needs, several(u.Records[kind], kind+" record"))
	}
	if u.Indexes > 0 {
		needs = append(needs, fmt.Sprintf("%s by which users' connections are found", several(u.Indexes, "index")))
	}
	if u.Shared > 0 {
		needs = append(needs, fmt.Sprintf("%s of users that the next consent would not find", several(u.Shared, "shared connection")))
	}
	if marks := u.Marks + uses.Marks; marks > 0 {
		needs = append(needs, fmt.Sprintf("%s that users were ended, until %s", several(marks, "mark"), uses.MarksUntil.Format(time.TimeOnly+" UTC")))
	}
	return needs
}

// several counts, for people.
func several(n int, what string) string {
	if n != 1 {
		if what == "index" {
			what += "e"
		}
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// afterUses says what makes a key unused.
func (k *keysRun) afterUses(uses *tokenstore.KeyUses, id uint32) string {
	if u := uses.Of(id); len(u.Records) == 0 && u.Indexes == 0 && u.Shared == 0 {
		return "wait until " + uses.MarksUntil.Format(time.TimeOnly+" UTC") + ": marks end by themselves, within an hour"
	}
	return "athd keys rewrap"
}
