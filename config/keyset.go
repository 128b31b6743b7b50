package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/athd/athd/tokenstore"
)

// keyset reads the keys that seal the store, from a file or from a variable of the
// environment.
func (l *loader) keyset() {
	c := &l.c.Store
	written := l.raw.Store.Keyset
	switch {
	case !written.IsZero() && c.KeysetFile != "":
		l.Fail("store.keyset is given too", "store", "keyset_file")
	case !written.IsZero() && !strings.HasPrefix(written.Reveal(), "${"):
		// Whoever copies or prints athd.yaml does not think of it as a keyset.
		l.Fail("has to come from a variable: ${ATHD_KEYSET}; or write the keyset into the file of store.keyset_file", "store", "keyset")
	case !written.IsZero():
		keys, err := tokenstore.ParseKeyset([]byte(c.Keyset.Reveal()))
		if err != nil {
			l.Fail(err.Error(), "store", "keyset")
		}
		l.s.Store.Keyset = keys
	case c.KeysetFile != "":
		l.s.KeysetFile = l.resolve(c.KeysetFile)
		if data, ok := l.readFile(c.KeysetFile, keysetFile, "store", "keyset_file"); ok {
			keys, err := tokenstore.ParseKeyset(data)
			if err != nil {
				l.Fail(err.Error(), "store", "keyset_file")
			}
			l.s.Store.Keyset = keys
		}
	case !l.s.Embedded && !l.s.StoreURL.IsZero():
		l.Fail("is missing: make one with `athd keys new -o keyset.json`", "store", "keyset_file")
	}
}

// ReadKeyset reads the file of [Settings].KeysetFile, with the checks of [Load].
// data is what the file holds, also where that is no keyset.
func ReadKeyset(path string, read func(string) ([]byte, fs.FileMode, error)) (keys *tokenstore.Keyset, data []byte, err error) {
	data, mode, err := read(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot be read: %w", err)
	}
	if fault, _ := keysetFile.checkMode(mode, data); fault != "" {
		return nil, data, errors.New(fault)
	}
	keys, err = tokenstore.ParseKeyset(data)
	return keys, data, err
}
