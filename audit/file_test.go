package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/athd/athd/audit"
)

func openFile(t *testing.T, path string, maxSize int64, keep int) *audit.File {
	t.Helper()
	f, err := audit.OpenFile(audit.FileConfig{Path: path, MaxSize: maxSize, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func writeLine(t *testing.T, f *audit.File, line string) {
	t.Helper()
	if n, err := f.Write([]byte(line + "\n")); err != nil || n != len(line)+1 {
		t.Fatalf("%q: %d %v", line, n, err)
	}
}

// holds reads a file's lines, joined by spaces.
func holds(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "nothing"
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

func wantFiles(t *testing.T, path string, want ...string) {
	t.Helper()
	for i, w := range want {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		if got := holds(t, name); got != w {
			t.Errorf("%s holds %q, want %q", filepath.Base(name), got, w)
		}
	}
}

// N-4
func TestAFileIsRotatedBeforeItGrowsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := openFile(t, path, 10, 3)
	for i := range 11 {
		writeLine(t, f, fmt.Sprintf("l-%02d", i)) // 5 bytes
	}
	wantFiles(t, path, "l-10", "l-08 l-09", "l-06 l-07", "l-04 l-05", "nothing")
	writeLine(t, f, "a-line-longer-than-all-that-a-file-may-hold")
	writeLine(t, f, "next")
	wantFiles(t, path, "next", "a-line-longer-than-all-that-a-file-may-hold", "l-10", "l-08 l-09", "nothing")

	t.Run("a start goes on where the last one ended", func(t *testing.T) {
		f := openFile(t, path, 10, 1)
		writeLine(t, f, "more")
		wantFiles(t, path, "next more")
		writeLine(t, f, "last")
		wantFiles(t, path, "last", "next more", "nothing", "nothing") // of three, one is kept now
	})
}

// N-4
func TestOnlyItsOwnerReadsAFileOfEvents(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	mode := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	f := openFile(t, path, 10, 3)
	writeLine(t, f, "12345678")
	writeLine(t, f, "12345678")
	if mode(path) != 0o600 || mode(path+".1") != 0o600 {
		t.Errorf("modes %v and %v", mode(path), mode(path+".1"))
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	writeLine(t, f, "12345678")
	if mode(path) != 0o640 {
		t.Errorf("the next file has mode %v, want that of the one before", mode(path))
	}
	if err := os.Chmod(path, 0o646); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.OpenFile(audit.FileConfig{Path: path, MaxSize: 10, Keep: 3}); err == nil || audit.Passing(err) {
		t.Errorf("a file that everybody can write to: %v", err)
	}
}

// N-4
func TestAFileMayBeMovedOrRemovedByOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	f := openFile(t, path, 1000, 3)
	writeLine(t, f, "1")
	if err := os.Rename(path, path+"-moved"); err != nil {
		t.Fatal(err)
	}
	writeLine(t, f, "2")
	wantFiles(t, path, "2")
	wantFiles(t, path+"-moved", "1")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeLine(t, f, "3")
	wantFiles(t, path, "3")
	if err := os.Truncate(path, 0); err != nil { // logrotate's copytruncate
		t.Fatal(err)
	}
	writeLine(t, f, "4")
	wantFiles(t, path, "4")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write([]byte("5\n")); err == nil || n != 0 {
		t.Errorf("without its directory: %d %v", n, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeLine(t, f, "6")
	wantFiles(t, path, "6")
}

// N-4
func TestAFileThatCannotBeRotatedGrowsOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var log bytes.Buffer
	f, err := audit.OpenFile(audit.FileConfig{Path: path, MaxSize: 10, Keep: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// A directory with something in it can be neither removed nor replaced,
	// not even by root.
	if err := os.MkdirAll(path+".1/x", 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		writeLine(t, f, fmt.Sprintf("l-%02d", i))
	}
	wantFiles(t, path, "l-00 l-01 l-02 l-03 l-04")
	if strings.Count(log.String(), "audit file not rotated") != 1 {
		t.Errorf("the log says %q", &log)
	}
}

func TestPipeIsWrittenAsItIs(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	p := openFile(t, pipe, 1, 1) // nobody reads, and it returns
	writeLine(t, p, "3")
}
