package config

import (
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/athd/athd/config/configtest"
)

const sealed = "{url: 'redis://10.0.0.1', keyset_file: keyset.json}"

func snapshotOf(m configtest.Machine, parts map[string]string) Snapshot {
	all := map[string]string{"store": sealed}
	maps.Copy(all, parts)
	m.Files["/etc/athd/athd.yaml"] = configtest.YAML(all)
	return TakeSnapshot("/etc/athd/athd.yaml", sources(m))
}

// A directory that is exchanged between two files of it must not give a
// configuration that nobody wrote.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	m := configtest.NewMachine(t)
	other := configtest.NewMachine(t)
	m.Files["/etc/athd/athd.yaml"] = configtest.YAML(map[string]string{"store": sealed, "log": "{level: debug}"})
	other.Files["/etc/athd/athd.yaml"] = configtest.YAML(map[string]string{"store": sealed, "log": "{level: warn}"})
	other.Files["/etc/athd/providers.json"] = strings.Replace(configtest.ProvidersJSON, `"Files"`, `"Other files"`, 1)
	reads := 0
	s := TakeSnapshot("/etc/athd/athd.yaml", Sources{Env: m.Env, ReadFile: func(path string) ([]byte, fs.FileMode, error) {
		if reads++; reads == 2 {
			m = other // after athd.yaml, and before all others
		}
		return m.ReadFile(path)
	}})
	if s.Settings == nil {
		t.Fatal(s.Faults)
	}
	if level, name := s.Settings.Log.Level.String(), s.Settings.Providers.Get("files").DisplayName; level != "WARN" || name != "Other files" {
		t.Errorf("level %s beside %q", level, name)
	}
}

func TestFilesThatNeverRestAreNoSnapshot(t *testing.T) {
	m := configtest.NewMachine(t)
	m.Files["/etc/athd/athd.yaml"] = configtest.YAML(map[string]string{"store": sealed})
	reads := 0
	s := TakeSnapshot("/etc/athd/athd.yaml", Sources{Env: m.Env, ReadFile: func(path string) ([]byte, fs.FileMode, error) {
		reads++
		data, mode, err := m.ReadFile(path)
		return append(data, strings.Repeat("\n", reads)...), mode, err
	}})
	if s.Settings != nil || !s.Changing || len(s.Faults) == 0 || len(s.Files) == 0 {
		t.Errorf("%+v", s)
	}
}

func TestTheDigestTellsConfigurationsApart(t *testing.T) {
	m := configtest.NewMachine(t)
	first := snapshotOf(m, nil)
	if first.Settings == nil || len(first.Digest) != 16 {
		t.Fatalf("%+v", first)
	}
	if again := snapshotOf(m, nil); again.Digest != first.Digest {
		t.Errorf("the same files: %s, then %s", first.Digest, again.Digest)
	}
	elsewhere := configtest.Machine{Files: map[string]string{}, Modes: m.Modes, Variables: m.Variables}
	for name, data := range m.Files {
		elsewhere.Files[strings.Replace(name, "/etc/athd/", "/srv/other/", 1)] = data
	}
	if s := TakeSnapshot("/srv/other/athd.yaml", sources(elsewhere)); s.Digest != first.Digest {
		t.Errorf("the same files in another directory: %s, want %s", s.Digest, first.Digest)
	}
	byName := snapshotOf(m, map[string]string{"public_url": "https://${HOST}"})
	m.Variables["HOST"] = "other.example.com"
	if again := snapshotOf(m, map[string]string{"public_url": "https://${HOST}"}); again.Settings == nil || again.Digest != byName.Digest {
		t.Errorf("another value of a variable: %s, want %s", again.Digest, byName.Digest)
	}
	seen := map[string]string{first.Digest: "nothing", byName.Digest: "a name"}
	for name, s := range map[string]Snapshot{
		"a key": snapshotOf(m, map[string]string{"log": "{level: debug}"}),
		"a secret": func() Snapshot {
			m := configtest.NewMachine(t)
			m.Files["/etc/athd/keyset.json"] = elsewhere.Files["/srv/other/keyset.json"]
			m.Files["/etc/athd/providers.json"] = strings.Replace(configtest.ProvidersJSON, `"secret"`, `"hunter2"`, 1)
			return snapshotOf(m, nil)
		}(),
		// Whoever sees the digest and guesses the secret does not have the keyset.
		"another keyset": snapshotOf(configtest.NewMachine(t), nil),
	} {
		if s.Settings == nil {
			t.Fatal(name, s.Faults)
		}
		if before, twice := seen[s.Digest]; twice {
			t.Errorf("%s has the digest of %s", name, before)
		}
		seen[s.Digest] = name
	}
}

// A file that is not there, or cannot be read, is one to look at again, too.
func TestASnapshotNamesTheFilesThatItWants(t *testing.T) {
	m := configtest.NewMachine(t)
	delete(m.Files, "/etc/athd/keyset.json")
	s := snapshotOf(m, nil)
	if got := strings.Join(s.Files, " "); s.Settings != nil || got != "/etc/athd/athd.yaml /etc/athd/keyset.json /etc/athd/providers.json" {
		t.Errorf("%s, %v", got, s.Faults)
	}
}
