package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/athd/athd/audit"
)

// /dev/full is Linux's.
func TestFullDeviceIsWrittenAgainOnceItIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, 1, 1)
	if _, err := f.Write([]byte("1\n")); !errors.Is(err, syscall.ENOSPC) || !audit.Passing(err) {
		t.Errorf("a full device: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeLine(t, f, "2")
	wantFiles(t, path, "2")
}
