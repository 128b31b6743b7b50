package main

import (
	"os"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/config"
	"github.com/athd/athd/tokenstore"
)

// A Secret that Kubernetes mounts is a directory behind a link, ..data, which the
// kubelet swaps: the file's own name leads through it and never changes, and neither
// has the new one to be newer than the old one.
func TestASecretOfKubernetesIsReadAgain(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	f := follow(t, server.Addr(), r.first)
	dir := t.TempDir()
	swap := func(name string, write func()) {
		t.Helper()
		write()
		for _, err := range []error{
			os.Mkdir(dir+"/"+name, 0o755),
			os.WriteFile(dir+"/"+name+"/keyset.json", f.file, 0o440),
			os.Symlink(name, dir+"/..data_tmp"),
			os.Rename(dir+"/..data_tmp", dir+"/..data"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	swap("..2026_11_29_08", func() { f.write(t, r.first) })
	if err := os.Symlink("..data/keyset.json", dir+"/keyset.json"); err != nil {
		t.Fatal(err)
	}
	f.path = dir + "/keyset.json"
	f.read = func(path string) (keys *tokenstore.Keyset, data []byte, err error) {
		return config.ReadKeyset(path, config.ReadFile)
	}
	f.look(t)
	f.seals(t, r.old)
	swap("..2026_11_29_09", func() { f.write(t, r.both) })
	f.look(t)
	swap("..2026_11_29_07", func() { f.write(t, r.promoted) })
	f.look(t)
	f.seals(t, r.fresh)
	if state := f.status(); state != (keysetState{}) || f.taken[keysetRefused] != 0 {
		t.Errorf("it is told as %+v, %v", state, f.taken)
	}
}
