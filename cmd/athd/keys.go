package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

func newKeys(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "keys",
		Short:   "make the keys that seal the store, and rotate them",
		GroupID: groupConfigure,
		Example: `  athd keys new -o keyset.json

  athd keys add --config athd.yaml
  athd keys promote 2847329105 --config athd.yaml
  athd keys rewrap --config athd.yaml
  athd keys status --config athd.yaml
  athd keys retire 1096734212 --config athd.yaml --keep keyset-before.json`,
	}
	c.AddCommand(newKeysNew(t), newKeysAdd(t), newKeysPromote(t), newKeysRewrap(t), newKeysStatus(t), newKeysRetire(t))
	return c
}

func newKeysNew(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "new",
		Short:   "make a keyset, in a file that is not there yet",
		Example: "  athd keys new -o keyset.json",
	}
	path := c.Flags().StringP("output", "o", "", "the `file` to write, with mode 0600; - for standard output")
	c.RunE = func(*cobra.Command, []string) error {
		if *path == "" {
			return cli.Wrong("--output is missing: the file to write")
		}
		return runKeysNew(*path, t)
	}
	return c
}

// runKeysNew makes the keyset that seals what is stored. It never overwrites
// one: what is sealed with a lost keyset is lost.
func runKeysNew(path string, t terminal) error {
	keyset, err := tokenstore.NewKeyset()
	if err != nil {
		return err
	}
	data, err := keyset.Marshal()
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if path == "-" {
		_, err = t.Stdout.Write(data)
		return err
	}
	if err := writeNew(path, data); err != nil {
		return err
	}
	fmt.Fprintf(t.Stderr, "wrote %s: all replicas need the same one; without it, what is stored is lost\n", path)
	return nil
}

// writeNew writes a secret file that must not exist yet, durably: as a whole,
// or not at all.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already, and a keyset is never overwritten", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path) // ours, and half of it
		return err
	}
	syncName(path)
	return nil
}
