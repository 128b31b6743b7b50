package config

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/athd/athd/strict"
)

// maxReads is how often files that change while they are read are read again.
const maxReads = 5

// A Snapshot is a configuration as all of its files were at one moment.
type Snapshot struct {
	Settings *Settings // nil where there is a fault
	Faults   strict.Faults

	// Files are those that were asked for, also where they could not be read,
	// as absolute paths in order.
	Files []string

	// Changing says that the files changed each time that they were read, so
	// that there are neither settings nor faults of any use.
	Changing bool

	// Digest tells configurations apart: it is that of the files' names and bytes,
	// 16 hexadecimal digits. Variables do not count: they may be each replica's own,
	// such as its address. It is keyed by the keyset, so that replicas with the same
	// files have the same one, and nobody who sees it can try passwords on it.
	// Without a keyset there are no replicas, and the key is this process' own.
	Digest string
}

// TakeSnapshot reads a configuration and everything that it refers to, as [Load]
// does, each file once. Then it looks at each file again, and starts anew if one
// of them is another one by now: a mounted directory may be exchanged for another
// one in between, and an editor may write several files.
func TakeSnapshot(path string, out Sources) Snapshot {
	for range maxReads {
		r := newRecorder(out)
		s := Snapshot{}
		s.Settings, s.Faults = Load(path, Sources{Env: out.Env, ReadFile: r.readFile, Now: out.Now})
		s.Files = r.names()
		if r.unchanged(out) {
			s.Digest = r.digest(filepath.Dir(path), s.Settings)
			return s
		}
	}
	r := newRecorder(out)
	_, _ = Load(path, Sources{Env: out.Env, ReadFile: r.readFile, Now: out.Now})
	return Snapshot{
		Files: r.names(), Changing: true,
		Faults: strict.Faults{{File: path, Message: "it, or a file that it names, changes while it is read"}},
	}
}

// A recorder reads each file once, and remembers what it read.
type recorder struct {
	out   Sources
	files map[string]file
}

type file struct {
	data []byte
	mode fs.FileMode
	err  error
}

func (f file) same(g file) bool {
	if (f.err == nil) != (g.err == nil) || f.err != nil && f.err.Error() != g.err.Error() {
		return false
	}
	return f.mode == g.mode && bytes.Equal(f.data, g.data)
}

func newRecorder(out Sources) *recorder {
	return &recorder{out: out, files: map[string]file{}}
}

func (r *recorder) readFile(path string) ([]byte, fs.FileMode, error) {
	name := absolutePath(path)
	f, read := r.files[name]
	if !read {
		f.data, f.mode, f.err = r.out.ReadFile(path)
		r.files[name] = f
	}
	return bytes.Clone(f.data), f.mode, f.err
}

func (r *recorder) names() []string {
	return slices.Sorted(maps.Keys(r.files))
}

func (r *recorder) unchanged(out Sources) bool {
	for name, was := range r.files {
		var is file
		if is.data, is.mode, is.err = out.ReadFile(name); !is.same(was) {
			return false
		}
	}
	return true
}

// digest is that of all that was read. Files below the directory of athd.yaml are
// called as seen from there: replicas may have theirs in different places.
func (r *recorder) digest(dir string, s *Settings) string {
	key := digestKey(s)
	if key == nil {
		return ""
	}
	all := map[string][]byte{}
	for name, f := range r.files {
		text := fmt.Sprint("error ", f.err)
		if f.err == nil {
			text = "file " + string(f.data)
		}
		all[relativeTo(dir, name)] = []byte(text)
	}
	mac := hmac.New(sha256.New, key)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		// Lengths in front, so that no text can look like two.
		fmt.Fprintf(mac, "%d %s %d %s ", len(name), name, len(all[name]), all[name])
	}
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// ownKey is that of a process without a keyset.
var ownKey = func() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	return key
}()

func digestKey(s *Settings) []byte {
	if s == nil || s.Store.Keyset == nil {
		return ownKey
	}
	key, err := s.Store.Keyset.Derive("athd configuration digest")
	if err != nil {
		return nil
	}
	return key
}

func absolutePath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func relativeTo(dir, name string) string {
	rel, err := filepath.Rel(absolutePath(dir), name)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return name
	}
	return rel
}
