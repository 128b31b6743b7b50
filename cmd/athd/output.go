package main

import (
	"bytes"
	"errors"
	"fmt"
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
	return write(path, text, func(f *os.File) error { return f.Chmod(mode) })
}

// write writes a file by one rename. settle gives the new file its mode and
// owner.
func write(path string, text []byte, settle func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = settle(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	syncName(path)
	return nil
}

// syncName has the name of a file on the disk, too. Some file systems know no such
// thing.
func syncName(path string) {
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		dir.Close()
	}
}

// replace writes other text into somebody else's file, which keeps its mode and
// its owner, and the links to it. It must still hold what it held before, and be
// one that may be written.
func replace(path string, before, after []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	old, err := os.OpenFile(real, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("nothing was written: %s is no regular file", path)
	}
	if now, err := os.ReadFile(real); err != nil || !bytes.Equal(now, before) {
		return fmt.Errorf("nothing was written: %s is another one than was read: try again", path)
	}
	err = write(real, after, func(f *os.File) error {
		if err := keepOwner(f, info); err != nil {
			return err
		}
		return f.Chmod(info.Mode())
	})
	if err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	return nil
}
