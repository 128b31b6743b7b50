package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Somebody else's file is replaced whole, or left alone.
func TestSomebodyElsesFileIsReplacedOnlyAsItWasRead(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "link.yaml")
	if err := os.WriteFile(path, []byte("now"), 0o604); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("envoy.yaml", link); err != nil {
		t.Fatal(err)
	}
	holds := func(want string) {
		t.Helper()
		text, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		all, err3 := os.ReadDir(dir)
		if err != nil || err2 != nil || err3 != nil || string(text) != want || info.Mode().Perm() != 0o604 || len(all) > 2 {
			t.Errorf("%q %v %v %v %v, beside %d files", text, info.Mode(), err, err2, err3, len(all))
		}
	}
	if err := replace(link, []byte("before"), []byte("after")); err == nil || !strings.Contains(err.Error(), "another one than was read") {
		t.Errorf("it changed meanwhile: %v", err)
	}
	holds("now")
	if err := replace(dir, nil, []byte("after")); err == nil || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("a directory: %v", err)
	}
	if os.Geteuid() != 0 { // root may write anything
		os.Chmod(path, 0o400)
		if err := replace(path, []byte("now"), []byte("after")); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("read-only: %v", err)
		}
		os.Chmod(path, 0o604)
		holds("now")
	}
	if err := replace(link, []byte("now"), []byte("after")); err != nil {
		t.Fatal(err)
	}
	holds("after")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is none any more: %v", err)
	}
}
