// Package guides keeps the documentation true: every configuration in it
// loads, every command in it has the flags that it is written with, and the
// guides' walks go through a real Envoy with the guides' own files.
//
// A fenced block is the file that the paragraph above it names last, as in
// "`athd.yaml`:". In docs/guides a block of YAML that nothing names is a part
// of athd.yaml: its keys take the place of those in the file before it.
package guides

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/tree"
)

// binaries builds the commands that the pages name, but for athd, which the
// stage builds.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "athd-guides-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+"/", "github.com/athd/athd/cmd/athctl", "github.com/athd/athd/cmd/athdemo").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	stage.RemoveBinary()
	if dir, err := binaries(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// program returns the path of a command.
func program(t *testing.T, name string) string {
	t.Helper()
	if name == "athd" {
		return stage.Binary(t)
	}
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// A block is a fenced block of a page.
type block struct {
	kind string // yaml, json, sh or nothing
	file string // the file that it is, if the page says so
	text string
}

var (
	fence = regexp.MustCompile("(?sm)^```(\\w*)\n(.*?)^```$")
	names = regexp.MustCompile("`([\\w./-]+)`[^`\n]*:\n\n$")
)

func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	text := read(t, page)
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		b := block{kind: text[m[2]:m[3]], text: text[m[4]:m[5]]}
		if name := names.FindStringSubmatch(text[:m[0]]); name != nil {
			b.file = name[1]
		}
		all = append(all, b)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages returns every page that users read.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md"}
	for _, pattern := range []string{"docs/*.md", "docs/guides/*.md", "docs/guides/providers/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", "..", "..", pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: no page was found: %v", pattern, err)
		}
		for _, path := range found {
			name, err := filepath.Rel(filepath.Join("..", "..", ".."), path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, name)
		}
	}
	return all
}

type object = tree.Object

// A setting is a configuration that a page shows, with the commands that
// follow it on the page.
type setting struct {
	athd      object
	providers object // of providers.json; nil: none
	commands  []string
}

// least stands around a providers.json that a page shows by itself.
const least = `{public_url: "http://localhost:8080", store: {url: embedded}, approval: {default: review}, providers_file: providers.json}`

// settings returns what a page configures, one after the other.
func settings(t *testing.T, page string) (all []setting) {
	t.Helper()
	var athd, providers object
	for _, b := range blocks(t, page) {
		switch {
		case b.kind == "yaml" && strings.Contains(b.text, "public_url:"):
			athd = parse(t, page, b.text)
			all = append(all, setting{athd: athd, providers: providers})
		case b.kind == "yaml" && strings.HasPrefix(page, "docs/guides/") && b.file == "":
			next := maps.Clone(athd)
			maps.Copy(next, parse(t, page, b.text))
			all = append(all, setting{athd: next, providers: providers})
		case b.kind == "json" && (b.file == "providers.json" || strings.Contains(b.text, `"authorize_endpoint"`)):
			if err := json.Unmarshal([]byte(b.text), &providers); err != nil {
				t.Fatalf("%s: %v\n%s", page, err, b.text)
			}
			all = append(all, setting{athd: parse(t, page, least), providers: providers})
		case b.kind == "sh" && len(all) > 0:
			for line := range strings.Lines(b.text) {
				last := &all[len(all)-1]
				last.commands = append(last.commands, strings.TrimSpace(line))
			}
		}
	}
	return all
}

func parse(t *testing.T, page, text string) object {
	t.Helper()
	var o object
	if err := yaml.Load([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v\n%s", page, err, text)
	}
	return o
}

// write writes the files of a setting.
func (s setting) write(t *testing.T, dir string, change func(string) string) {
	t.Helper()
	config, err := yaml.Dump(s.athd)
	if err != nil {
		t.Fatal(err)
	}
	save(t, dir, "athd.yaml", change(string(config)))
	if s.providers != nil {
		text, err := json.MarshalIndent(s.providers, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		save(t, dir, "providers.json", change(string(text)))
	}
	save(t, dir, "admin.token", stage.AdminKey+"\n")
}

func save(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
