package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// FileConfig configures a [File]. Path, MaxSize and Keep are required.
type FileConfig struct {
	Path    string
	MaxSize int64        // in bytes: a file that would grow beyond it is rotated first
	Keep    int          // how many rotated files stay; at least 1
	Logger  *slog.Logger // gets a line when a file cannot be rotated; may be nil
}

// A File is a place for events of their own, for one writer: path, and beside
// it path.1 (the newest), path.2 and so on. Only its owner can read it, unless
// its mode said otherwise before.
//
// Whoever moves or removes the file, logrotate for instance, need not signal
// athd: the next event goes to a new one. What is no regular file, such as a
// device or a pipe, is written as it is and never rotated.
type File struct {
	config   FileConfig
	file     *os.File // nil: not open
	info     fs.FileInfo
	reported time.Time
}

// OpenFile opens or creates the file. With an error that [Passing] knows the
// File can be used all the same: each Write tries again.
func OpenFile(c FileConfig) (*File, error) {
	if c.Path == "" || c.MaxSize < 1 || c.Keep < 1 {
		return nil, errors.New("audit: a file wants a path, a size, and a number of files to keep")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	f := &File{config: c}
	return f, f.open(0o600)
}

// Passing reports whether a file that cannot be opened may be so later, with
// nothing done to athd: the disk is full or does not answer.
func Passing(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ETIMEDOUT, syscall.ESTALE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (f *File) open(mode fs.FileMode) error {
	f.Close()
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if info, err := os.Stat(f.config.Path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		flags = os.O_RDWR // to open a pipe for writing alone waits for a reader
	}
	file, err := os.OpenFile(f.config.Path, flags, mode)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		err = fmt.Errorf("%s: everybody can write to the file (mode %#o)", f.config.Path, info.Mode().Perm())
	}
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.info = file, info
	return nil
}

// Write appends whole lines.
func (f *File) Write(p []byte) (int, error) {
	now, err := os.Stat(f.config.Path)
	if f.file == nil || err != nil || !os.SameFile(now, f.info) {
		if err := f.open(0o600); err != nil {
			return 0, err
		}
		now = f.info
	}
	if !now.Mode().IsRegular() {
		return f.file.Write(p)
	}
	if now.Size() > 0 && now.Size()+int64(len(p)) > f.config.MaxSize {
		if err := f.rotate(now); err != nil {
			return 0, err
		}
		if now, err = f.file.Stat(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(p)
	if err != nil && n > 0 {
		// Half a line would spoil the next one. If it cannot be cut off, the
		// caller begins a new line.
		if whole := bytes.LastIndexByte(p[:n], '\n') + 1; f.file.Truncate(now.Size()+int64(whole)) == nil {
			n = whole
		}
	}
	return n, err
}

// rotate renames the file to path.1, and opens a new one. While it cannot be
// renamed, it grows on: events matter more than its size.
func (f *File) rotate(old fs.FileInfo) error {
	name := func(i int) string { return fmt.Sprintf("%s.%d", f.config.Path, i) }
	for i := f.config.Keep; ; i++ { // more than one where more were kept before
		if err := os.Remove(name(i)); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				f.report(err)
			}
			break
		}
	}
	for i := f.config.Keep - 1; i > 0; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.report(err)
			return nil
		}
	}
	if err := os.Rename(f.config.Path, name(1)); err != nil {
		f.report(err)
		return nil
	}
	if err := f.open(0o600); err != nil {
		return err
	}
	// A group that was let in, to collect the events, stays so.
	return f.file.Chmod(old.Mode().Perm())
}

func (f *File) report(err error) {
	if time.Since(f.reported) < reportEvery {
		return
	}
	f.reported = time.Now()
	f.config.Logger.Error("audit file not rotated", "error", err, "hint", "it grows on; its directory must let athd rename it")
}

// Close closes the file; a Write opens it again.
func (f *File) Close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}
