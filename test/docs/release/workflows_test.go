package release

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// workflow is what our workflows use of their language. Another key is an error:
// whoever needs it adds it here, and thinks of what it opens.
type workflow struct {
	Name string `yaml:"name"`
	On   struct {
		Push struct {
			Branches []string `yaml:"branches"`
			Tags     []string `yaml:"tags"`
		} `yaml:"push"`
		PullRequest any `yaml:"pull_request"`
	} `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Concurrency map[string]any    `yaml:"concurrency"`
	Jobs        map[string]job    `yaml:"jobs"`
}

type job struct {
	If          string            `yaml:"if"`
	RunsOn      string            `yaml:"runs-on"`
	Timeout     int               `yaml:"timeout-minutes"`
	Permissions map[string]string `yaml:"permissions"`
	Steps       []step            `yaml:"steps"`
}

type step struct {
	Name string            `yaml:"name"`
	ID   string            `yaml:"id"`
	Uses string            `yaml:"uses"`
	With map[string]any    `yaml:"with"`
	Run  string            `yaml:"run"`
	Env  map[string]string `yaml:"env"`
}

func strictly(t *testing.T, path string, into any) {
	t.Helper()
	d, err := yaml.NewLoader(strings.NewReader(read(t, path)), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Load(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	paths, err := filepath.Glob(root + ".github/workflows/*")
	if err != nil || len(paths) < 2 {
		t.Fatalf("%v: %v", paths, err)
	}
	all := map[string]workflow{}
	for _, path := range paths {
		var w workflow
		strictly(t, strings.TrimPrefix(filepath.ToSlash(path), root), &w)
		all[filepath.Base(path)] = w
	}
	return all
}

func eachStep(t *testing.T, f func(where string, s step)) {
	t.Helper()
	for file, w := range workflows(t) {
		for name, j := range w.Jobs {
			if len(j.Steps) == 0 {
				t.Errorf("%s: %s has no steps", file, name)
			}
			for _, s := range j.Steps {
				f(file+": "+name, s)
			}
		}
	}
}

func TestWorkflowsMayDoLittleAndEnd(t *testing.T) {
	writes := map[string][]string{"release.yaml": {"attestations", "contents", "id-token", "packages"}}
	for file, w := range workflows(t) {
		if w.Permissions == nil {
			t.Errorf("%s: without permissions it has all that the repository gives", file)
		}
		for what, how := range w.Permissions {
			if how != "read" {
				t.Errorf("%s: every job may %s %s", file, how, what)
			}
		}
		var may []string
		for name, j := range w.Jobs {
			if j.Timeout < 1 || j.Timeout > 60 || j.RunsOn != "ubuntu-24.04" {
				t.Errorf("%s: %s ends after %d minutes, on %s", file, name, j.Timeout, j.RunsOn)
			}
			for what, how := range j.Permissions {
				if how == "write" {
					may = append(may, what)
				}
			}
		}
		slices.Sort(may)
		if !slices.Equal(may, writes[file]) {
			t.Errorf("%s may write %v, want %v", file, may, writes[file])
		}
	}
}

// A tag of an action can be moved to other code; a commit cannot.
func TestActionsArePinnedByCommit(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
	comments := map[string]string{}
	for _, file := range []string{"ci.yaml", "release.yaml"} {
		for _, m := range regexp.MustCompile(`uses: (\S+) # (v\d+\.\d+\.\d+)\n`).FindAllStringSubmatch(read(t, ".github/workflows/"+file), -1) {
			if was := comments[m[1]]; was != "" && was != m[2] {
				t.Errorf("%s is called %s and %s", m[1], was, m[2])
			}
			comments[m[1]] = m[2]
		}
	}
	versions := map[string]string{}
	eachStep(t, func(where string, s step) {
		if s.Uses == "" {
			return
		}
		if !pinned.MatchString(s.Uses) || comments[s.Uses] == "" {
			t.Errorf("%s: %s: want a commit, and its version in a comment", where, s.Uses)
		}
		action, commit, _ := strings.Cut(s.Uses, "@")
		if was := versions[action]; was != "" && was != commit {
			t.Errorf("%s: two versions of %s", where, action)
		}
		versions[action] = commit
		if action == "actions/checkout" && s.With["persist-credentials"] != false {
			t.Errorf("%s: the checkout leaves its token to what runs after it", where)
		}
	})
}

// ${{ }} in a script is text that others write, made into commands.
func TestWorkflowsRunWhatIsThere(t *testing.T) {
	makefile := read(t, "Makefile")
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([\w./-]+):`).FindAllStringSubmatch(makefile, -1) {
		targets[m[1]] = true
	}
	ran := map[string]bool{}
	eachStep(t, func(where string, s step) {
		if (s.Run == "") == (s.Uses == "") {
			t.Errorf("%s: a step that runs and uses, or neither: %+v", where, s)
		}
		if strings.Contains(s.Run, "${{") {
			t.Errorf("%s: %s: give it by env", where, s.Run)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s*make (.*)$`).FindAllStringSubmatch(s.Run, -1) {
			for word := range strings.FieldsSeq(m[1]) {
				if !strings.Contains(word, "=") {
					if ran[word] = true; !targets[word] {
						t.Errorf("%s: no target %s", where, word)
					}
				}
			}
		}
		for _, m := range regexp.MustCompile(`\b(tools/[\w/]+) (\w+)`).FindAllStringSubmatch(s.Run, -1) {
			if info, err := os.Stat(root + m[1]); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s: %s: %v", where, m[1], err)
			}
		}
	})
	for _, target := range []string{"test", "test-compose", "vulnerabilities", "release-snapshot", "release-tools", "release-images"} {
		if !ran[target] {
			t.Errorf("no workflow runs make %s", target)
		}
	}
}

// The archives' binaries are the images' only where one Go builds both.
func TestOneGoBuildsImagesAndReleases(t *testing.T) {
	m := regexp.MustCompile(`(?m)^FROM .*golang:(\S+) AS`).FindStringSubmatch(read(t, "Dockerfile"))
	if m == nil {
		t.Fatal("Dockerfile: no Go")
	}
	found := 0
	eachStep(t, func(where string, s step) {
		if strings.HasPrefix(s.Uses, "actions/setup-go@") {
			if found++; s.With["go-version"] != m[1] {
				t.Errorf("%s: Go %v, Dockerfile has %s", where, s.With["go-version"], m[1])
			}
		}
	})
	if found == 0 {
		t.Error("no workflow has Go")
	}
}

// Any run of a pull request may have written to the cache.
func TestReleaseCachesNothing(t *testing.T) {
	found := 0
	for name, j := range workflows(t)["release.yaml"].Jobs {
		for _, s := range j.Steps {
			if strings.Contains(s.Uses, "cache@") {
				t.Errorf("%s: %s", name, s.Uses)
			}
			if strings.HasPrefix(s.Uses, "actions/setup-go@") {
				if found++; s.With["cache"] != false {
					t.Errorf("%s: setup-go brings back what another run left", name)
				}
			}
		}
	}
	if found == 0 {
		t.Error("release.yaml has no Go")
	}
}

// dependabot is .github/dependabot.yaml.
type dependabot struct {
	Version int `yaml:"version"`
	Updates []struct {
		Ecosystem   string         `yaml:"package-ecosystem"`
		Directory   string         `yaml:"directory"`
		Directories []string       `yaml:"directories"`
		Schedule    map[string]any `yaml:"schedule"`
		Groups      map[string]any `yaml:"groups"`
	} `yaml:"updates"`
}

func TestEveryModuleAndPackageFileIsWatched(t *testing.T) {
	var d dependabot
	strictly(t, ".github/dependabot.yaml", &d)
	watched := map[string]bool{}
	for _, u := range d.Updates {
		for _, dir := range append(u.Directories, u.Directory) {
			if dir != "" {
				watched[u.Ecosystem+" "+dir] = true
			}
		}
	}
	kinds := map[string]string{"go.mod": "gomod", "package.json": "npm", "requirements.txt": "pip", "Dockerfile": "docker", "docker-compose.yaml": "docker-compose"}
	want := map[string]bool{"github-actions /": true}
	for _, path := range files(t) {
		if kind := kinds[filepath.Base(path)]; kind != "" && !strings.Contains(path, "testdata/") {
			want[kind+" "+filepath.ToSlash(filepath.Join("/", filepath.Dir(path)))] = true
		}
	}
	for w := range want {
		if !watched[w] {
			t.Errorf("dependabot does not watch %s", w)
		}
	}
	for w := range watched {
		if !want[w] {
			t.Errorf("dependabot watches %s, where there is nothing", w)
		}
	}
}

// files are the project's, without what was fetched.
func files(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", root, "-name", ".tools", "-prune", "-o", "-name", ".git", "-prune", "-o",
		"-name", "node_modules", "-prune", "-o", "-type", "f", "-print").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range bytes.Lines(out) {
		all = append(all, strings.TrimPrefix(strings.TrimSpace(string(line)), root))
	}
	return all
}
