package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/athd/athd/strict"
)

// Sources are what a configuration refers to beyond itself: environment
// variables and files.
type Sources struct {
	Env      func(name string) (string, bool)
	ReadFile func(path string) ([]byte, fs.FileMode, error)
	// Now says which tokens have expired. nil: time.Now.
	Now func() time.Time
}

func (s *Sources) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// maxFileBytes bounds every file that is read.
const maxFileBytes = strict.MaxBytes

// ReadFile returns a regular file's bytes and permissions. The error does not
// repeat the path.
func ReadFile(path string) ([]byte, fs.FileMode, error) {
	// Without O_NONBLOCK, opening a pipe waits for a writer for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, withoutPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, 0, withoutPath(err)
	}
	if len(data) > maxFileBytes {
		return nil, 0, fmt.Errorf("larger than %d bytes", maxFileBytes)
	}
	return data, info.Mode().Perm(), nil
}

func withoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
