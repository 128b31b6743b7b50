package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// output writes what a command prints: to standard output for "-", else to a
// file, by one rename: who reads the file sees the old or the new text, whole.
func output(t terminal, path string, text []byte, mode fs.FileMode) error {
	if path == "-" {
		_, err := t.Stdout.Write(text)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
