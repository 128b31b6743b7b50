package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/athd/athd/tokenstore"
)

// runKeys makes the keyset that seals what is stored. It never overwrites
// one: what is sealed with a lost keyset is lost.
func runKeys(args []string, t terminal) error {
	f := newFlags("keys new", t)
	path := f.String("o", "", "the `file` to write, with mode 0600; - for standard output")
	if len(args) == 0 || args[0] != "new" {
		return f.wrong("want: athd keys new -o keyset.json")
	}
	if err := f.parse(args[1:]); err != nil {
		return err
	}
	if *path == "" {
		return f.wrong("-o is missing")
	}
	keyset, err := tokenstore.NewKeyset()
	if err != nil {
		return err
	}
	data, err := keyset.Marshal()
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if *path == "-" {
		_, err = t.stdout.Write(data)
		return err
	}
	if err := writeNew(*path, data); err != nil {
		return fmt.Errorf("athd keys new: %w", err)
	}
	fmt.Fprintf(t.stderr, "wrote %s: all replicas need the same one; without it, what is stored is lost\n", *path)
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
	}
	return err
}
