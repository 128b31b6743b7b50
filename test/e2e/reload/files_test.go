package reload

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// files are those of a configuration that a test writes, by name.
type files map[string]string

// with returns the files, of which some are others.
func (f files) with(some files) files {
	out := maps.Clone(f)
	maps.Copy(out, some)
	return out
}

// A way is one in which people and programs write files.
type way struct {
	name  string
	write func(t *testing.T, dir string, all files)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var ways = []way{
	{"in place", func(t *testing.T, dir string, all files) {
		for name, text := range all {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_TRUNC|os.O_CREATE, 0o600)
			must(t, err)
			for _, part := range []string{text[:len(text)/2], text[len(text)/2:]} {
				_, err = f.WriteString(part)
				must(t, err)
			}
			must(t, f.Close())
		}
	}},
	{"by rename", func(t *testing.T, dir string, all files) {
		for name, text := range all {
			must(t, os.WriteFile(filepath.Join(dir, name+".new"), []byte(text), 0o600))
			must(t, os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)))
		}
	}},
	// As the kubelet exchanges a ConfigMap: each file is a link into ..data, which is
	// a link that is replaced.
	{"by one link", func(t *testing.T, dir string, all files) {
		next, err := os.MkdirTemp(dir, "..")
		must(t, err)
		for name, text := range all {
			must(t, os.WriteFile(filepath.Join(next, name), []byte(text), 0o600))
		}
		link(t, filepath.Base(next), filepath.Join(dir, "..data"))
		for name := range all {
			link(t, filepath.Join("..data", name), filepath.Join(dir, name))
		}
	}},
}

// link has a link lead to target, by one rename, unless it does.
func link(t *testing.T, target, at string) {
	t.Helper()
	if is, err := os.Readlink(at); err == nil && is == target {
		return
	}
	must(t, os.Symlink(target, at+".new"))
	must(t, os.Rename(at+".new", at))
}

// read returns the files of a stage.
func read(t *testing.T, s *stage.Stage, names ...string) files {
	t.Helper()
	out := files{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(s.Dir, name))
		must(t, err)
		out[name] = string(text)
	}
	return out
}

// spare is a provider that nobody uses.
var spare = map[string]any{
	"display_name": "A spare one", "available_scopes": []string{"spare:read"}, "api_base_url": "https://api.spare.example",
	"authorize_endpoint": "https://spare.example/authorize", "token_endpoint": "https://spare.example/token",
	"client_id": "athd", "client_secret": "client-secret-of-the-spare-one",
}
