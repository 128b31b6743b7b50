package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// stdio is the path that stands for standard input and output.
const stdio = "-"

// A keysetPlace is where a command has a keyset from, and puts the next one.
type keysetPlace struct {
	terminal
	path string // stdio: standard input and output
	keys *tokenstore.Keyset
	data []byte // as it was read
}

// keysetFlag is --keyset of the commands that read one.
func keysetFlag(c *cobra.Command, writes bool) *string {
	usage := "the keyset `file`, in place of store.keyset_file; - for standard input"
	if writes {
		usage += " and, changed, output"
	}
	return c.Flags().String("keyset", "", usage)
}

// keysetAt reads the keyset at a path, with the checks of athd's start.
func keysetAt(path string, t terminal) (*keysetPlace, error) {
	p := &keysetPlace{terminal: t, path: path}
	var err error
	if path == stdio {
		if p.data, err = io.ReadAll(io.LimitReader(t.Stdin, 1<<20)); err == nil {
			p.keys, err = tokenstore.ParseKeyset(p.data)
		}
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return p, nil
	}
	if p.keys, p.data, err = config.ReadKeyset(path, config.ReadFile); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// keysetOf reads the keyset that --keyset names, or, without it, that of athd.yaml.
func keysetOf(flag string, s *config.Settings, t terminal) (*keysetPlace, error) {
	switch {
	case flag != "":
		return keysetAt(flag, t)
	case s.KeysetFile != "":
		return keysetAt(s.KeysetFile, t)
	case s.Store.Keyset != nil:
		return &keysetPlace{terminal: t, keys: s.Store.Keyset}, nil
	}
	return nil, errors.New("store.keyset_file is missing")
}

// writable tells where the next keyset cannot go back to where this one came from.
func (p *keysetPlace) writable() error {
	if p.path == "" {
		return errors.New("the keyset is in the environment (store.keyset), where no command can change it\nnext: --keyset - reads it from standard input, and writes the next one to standard output")
	}
	return nil
}

// String is what the place is called.
func (p *keysetPlace) String() string {
	switch p.path {
	case "":
		return "the environment (store.keyset)"
	case stdio:
		return "standard input"
	}
	return p.path
}

// say prints what a command has to say: on standard error, where standard output is
// for the keyset.
func (p *keysetPlace) say(format string, args ...any) {
	to := p.Stdout
	if p.path == stdio {
		to = p.Stderr
	}
	fmt.Fprintf(to, format+"\n", args...)
}

// write puts the next keyset in the place of the one that was read: as a whole, by
// one rename, with the mode and the owner of before, and only if nobody was faster.
// What was written is read again, so that no key is lost by it.
func (p *keysetPlace) write(next *tokenstore.Keyset) error {
	data, err := next.Marshal()
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if p.path == stdio {
		_, err := p.Stdout.Write(data)
		return err
	}
	lock, err := lockBeside(p.path)
	if err != nil {
		return fmt.Errorf("nothing was written: %w\nnext: where the file cannot be written here, --keyset - reads it from standard input and writes the next one to standard output", err)
	}
	defer lock()
	if err := replace(p.path, p.data, data); err != nil {
		return fmt.Errorf("%w\nnext: where the file cannot be written here, --keyset - reads it from standard input and writes the next one to standard output", err)
	}
	switch _, written, err := config.ReadKeyset(p.path, config.ReadFile); {
	case err != nil:
		return fmt.Errorf("%s was written, and does not read: %w", p.path, err)
	case !bytes.Equal(written, data):
		return fmt.Errorf("%s was written, and somebody has written it again: see what is there", p.path)
	}
	return nil
}

// lockBeside keeps other commands from writing a keyset at the same time. It leaves
// nothing behind; one that was killed has left a lock, which is said.
func lockBeside(path string) (unlock func(), err error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(filepath.Dir(real), "."+filepath.Base(real)+".lock")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("another command writes the keyset: %s is there (remove it if none does)", name)
	}
	if err != nil {
		return nil, err
	}
	f.Close()
	return func() { os.Remove(name) }, nil
}

// keyID reads the id of a key as it is printed.
func keyID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, cli.Wrong("KEY is the id of a key, a number, as athd keys status lists it")
	}
	return uint32(id), nil
}
