package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// A keysEdit is what add, promote and retire print with -o json.
type keysEdit struct {
	Keyset  string           `json:"keyset"` // the file
	Added   uint32           `json:"added,omitzero"`
	Seals   uint32           `json:"seals"`
	Retired uint32           `json:"retired,omitzero"`
	Kept    string           `json:"kept,omitzero"` // the file with the keyset as it was
	Keys    []tokenstore.Key `json:"keys"`
	Next    string           `json:"next"`
}

// told prints what was done: for people, or the edit for programs.
func (p *keysetPlace) told(format cli.Format, e keysEdit, done string) error {
	e.Keyset = p.path
	if format == cli.JSON {
		return p.JSON(e)
	}
	p.say("%s\nnext: %s", done, e.Next)
	return nil
}

func newKeysAdd(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "add",
		Short: "put a fresh key into the keyset, which opens and does not seal yet",
		Example: "  athd keys add --keyset keyset.json\n" +
			"  athd keys add --keyset - <keyset.json >next.json",
	}
	path := cli.ConfigFlag(c)
	keyset := keysetFlag(c, true)
	format := cli.FormatFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		s := &config.Settings{}
		if *keyset == "" {
			var err error
			if s, err = t.load(*path); err != nil {
				return err
			}
		}
		p, err := keysetOf(*keyset, s, t)
		if err == nil {
			err = p.forPrograms(*format)
		}
		if err != nil {
			return err
		}
		return p.add(*format)
	}
	return c
}

// forPrograms refuses what cannot be told: the keyset goes where the JSON would.
func (p *keysetPlace) forPrograms(format cli.Format) error {
	if format == cli.JSON && p.path == stdio {
		return cli.Wrong("--keyset - writes the keyset to standard output, and -o json writes there, too")
	}
	return p.writable()
}

func (p *keysetPlace) add(format cli.Format) error {
	keys, id, err := p.keys.Add()
	if errors.Is(err, tokenstore.ErrKeysFull) {
		return fmt.Errorf("the keyset has %d keys already\nnext: athd keys status says which can be retired", tokenstore.MaxKeys)
	}
	if err != nil {
		return err
	}
	if err := p.write(keys); err != nil {
		return err
	}
	return p.told(format, keysEdit{Added: id, Seals: keys.Primary(), Keys: keys.Keys(), Next: fmt.Sprintf("give every athd this keyset; then athd keys promote %d", id)},
		fmt.Sprintf("added %s: it opens, and %s goes on sealing", tokenstore.KeyName(id), tokenstore.KeyName(keys.Primary())))
}

func newKeysPromote(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "promote KEY",
		Short:   "let a key seal from now on, which every athd has",
		Example: "  athd keys promote 2847329105 --config athd.yaml --wait 2m",
		Args:    cobra.ExactArgs(1),
	}
	path := cli.ConfigFlag(c)
	keyset := keysetFlag(c, true)
	fleet := fleetFlags(c)
	format := cli.FormatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := keyID(args[0])
		if err != nil {
			return err
		}
		return withKeys(c.Context(), t, *path, *keyset, func(ctx context.Context, k *keysRun) error {
			if err := k.place.forPrograms(*format); err != nil {
				return err
			}
			return k.promote(ctx, id, fleet, *format)
		})
	}
	return c
}

func (k *keysRun) promote(ctx context.Context, id uint32, fleet *fleet, format cli.Format) error {
	p := k.place
	next, err := p.keys.Promote(id)
	if err != nil {
		return k.cannot(id, err)
	}
	retired, err := k.store.RetiredKeys(ctx)
	if err != nil {
		return err
	}
	if at, is := retired[id]; is {
		return fmt.Errorf("%s was retired on %s, and does not come back: what sealed with it was let go\nnext: athd keys add", tokenstore.KeyName(id), at.Format(time.DateOnly))
	}
	if err := fleet.wait(ctx, k, func(r *tokenstore.Replica) string {
		if r.Has(id) {
			return ""
		}
		return "does not have " + tokenstore.KeyName(id)
	}, "give each athd the keyset with the key; it is read within five seconds. --wait 2m waits for the last one"); err != nil {
		return err
	}
	was := p.keys.Primary()
	if err := p.write(next); err != nil {
		return err
	}
	return p.told(format, keysEdit{Seals: id, Keys: next.Keys(), Next: fmt.Sprintf("give every athd this keyset; then athd keys rewrap seals again what %s has sealed", tokenstore.KeyName(was))},
		fmt.Sprintf("promoted %s: it seals from now on; %s goes on opening", tokenstore.KeyName(id), tokenstore.KeyName(was)))
}

// cannot says why a keyset was not edited.
func (k *keysRun) cannot(id uint32, err error) error {
	switch name := tokenstore.KeyName(id); {
	case errors.Is(err, tokenstore.ErrNoSuchKey):
		return fmt.Errorf("%s has no %s\nnext: athd keys status lists those that it has", k.place, name)
	case errors.Is(err, tokenstore.ErrKeyDisabled):
		return fmt.Errorf("%s is disabled in %s\nnext: set its status to ENABLED there, and give every athd that keyset first", name, k.place)
	case errors.Is(err, tokenstore.ErrKeySeals):
		return fmt.Errorf("%s is the one that seals\nnext: athd keys add, athd keys promote and athd keys rewrap; then it can go", name)
	}
	return err
}
