package release

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const root = "../../../"

// What a release of these tests is.
const (
	tag      = "v1.2.3-rc.4"
	revision = "0123456789abcdef0123456789abcdef01234567"
)

// goreleaser is .goreleaser.yaml, as far as it has to do with binaries.
type goreleaser struct {
	Version     int    `yaml:"version"`
	ProjectName string `yaml:"project_name"`
	Before      struct {
		Hooks []string `yaml:"hooks"`
	} `yaml:"before"`
	Builds []struct {
		ID           string   `yaml:"id"`
		Main         string   `yaml:"main"`
		Binary       string   `yaml:"binary"`
		Env          []string `yaml:"env"`
		Goos         []string `yaml:"goos"`
		Goarch       []string `yaml:"goarch"`
		Flags        []string `yaml:"flags"`
		Ldflags      []string `yaml:"ldflags"`
		ModTimestamp string   `yaml:"mod_timestamp"`
	} `yaml:"builds"`
	Archives []struct {
		IDs   []string `yaml:"ids"`
		Files []struct {
			Src string `yaml:"src"`
		} `yaml:"files"`
	} `yaml:"archives"`
	Checksum map[string]string `yaml:"checksum"`
	SBOMs    []struct {
		Artifacts string `yaml:"artifacts"`
		Cmd       string `yaml:"cmd"` // as seen from dist
	} `yaml:"sboms"`
	Release struct {
		GitHub map[string]string `yaml:"github"`
	} `yaml:"release"`
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func config(t *testing.T) goreleaser {
	t.Helper()
	var c goreleaser
	if err := yaml.Unmarshal([]byte(read(t, ".goreleaser.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Builds) != 2 {
		t.Fatalf("%d builds", len(c.Builds))
	}
	return c
}

// filled is what goreleaser makes of a template for the release of these tests.
func filled(t *testing.T, text string) string {
	t.Helper()
	out := strings.NewReplacer("{{ .Version }}", strings.TrimPrefix(tag, "v"), "{{ .FullCommit }}", revision).Replace(text)
	if strings.Contains(out, "{{") {
		t.Fatalf("%s: a template that this test does not know", out)
	}
	return out
}

func TestReleaseHasBothCommandsForFourSystems(t *testing.T) {
	c := config(t)
	for i, program := range []string{"athd", "athctl"} {
		b := c.Builds[i]
		if b.ID != program || b.Binary != program || b.Main != "./cmd/"+program {
			t.Errorf("build %d: %+v", i, b)
		}
		if !slices.Equal(b.Goos, []string{"linux", "darwin"}) || !slices.Equal(b.Goarch, []string{"amd64", "arm64"}) {
			t.Errorf("%s: %v, %v", program, b.Goos, b.Goarch)
		}
		if !slices.Equal(b.Env, []string{"CGO_ENABLED=0"}) || !slices.Contains(b.Flags, "-trimpath") || b.ModTimestamp != "{{ .CommitTimestamp }}" {
			t.Errorf("%s: two builds of a commit would differ: %+v", program, b)
		}
		if !slices.Equal(b.Flags, c.Builds[0].Flags) || !slices.Equal(b.Ldflags, c.Builds[0].Ldflags) {
			t.Errorf("%s is built by other flags than athd", program)
		}
	}
	if len(c.Archives) != 1 || !slices.Equal(c.Archives[0].IDs, []string{"athd", "athctl"}) {
		t.Errorf("archives: %+v", c.Archives)
	}
	for _, f := range c.Archives[0].Files {
		if _, err := os.Stat(root + f.Src); err != nil && f.Src != "completions/*" { // which the hook makes
			t.Error(err)
		}
	}
	if len(c.SBOMs) != 1 {
		t.Fatalf("SBOMs: %v", c.SBOMs)
	}
	for _, hook := range append(c.Before.Hooks, strings.TrimPrefix(c.SBOMs[0].Cmd, "../")) {
		if info, err := os.Stat(root + hook); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("hook %s: %v", hook, err)
		}
	}
	if c.Checksum["algorithm"] != "sha256" || c.SBOMs[0].Artifacts != "archive" {
		t.Errorf("checksums %v, SBOMs %v", c.Checksum, c.SBOMs)
	}
	if module := "github.com/" + c.Release.GitHub["owner"] + "/" + c.Release.GitHub["name"]; !strings.HasPrefix(read(t, "go.mod"), "module "+module+"\n") {
		t.Errorf("released at %s", module)
	}
}

// report is what `version -o json` prints.
type report struct {
	Program, Version, Revision, Go string
}

// A symbol that -X names and that is not there is no error of the linker's.
func TestBinaryReportsTheVersionThatTheReleaseLinksIn(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	for _, b := range config(t).Builds {
		for _, tt := range []struct {
			name, version, revision string
			args                    []string
		}{
			{"a release", tag, revision, append(slices.Clone(b.Flags), "-ldflags", filled(t, strings.Join(b.Ldflags, " ")))},
			{"go build without git", "devel", "unknown", []string{"-buildvcs=false", "-ldflags", "-s -w"}},
		} {
			cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build"}, tt.args...), "-o", program, b.Main)...)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), b.Env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := exec.CommandContext(t.Context(), program, "version", "-o", "json").Output()
			if err != nil {
				t.Fatal(err)
			}
			var got report
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if want := (report{b.Binary, tt.version, tt.revision, runtime.Version()}); got != want {
				t.Errorf("%s of %s: %+v, want %+v", b.Binary, tt.name, got, want)
			}
			content, err := os.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			here, err := filepath.Abs(root)
			if err != nil {
				t.Fatal(err)
			}
			if tt.version == tag && bytes.Contains(content, []byte(here)) {
				t.Errorf("%s names %s, a folder of the machine that built it", b.Binary, here)
			}
		}
	}
}

var (
	goBuild = regexp.MustCompile(`(?s)\bgo build (.*?) \\\s+-ldflags "(.*?)"`)
	stage   = regexp.MustCompile(`(?m)^FROM scratch AS (\w+)\n`)
	label   = regexp.MustCompile(`org\.opencontainers\.image\.(\w+)="([^"]+)"`)
)

// Who has checked an archive has checked what the image runs.
func TestImagesAreBuiltByTheFlagsOfTheArchives(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	m := goBuild.FindStringSubmatch(dockerfile)
	if m == nil {
		t.Fatal("Dockerfile: no go build")
	}
	b := config(t).Builds[0]
	if flags := strings.Fields(m[1]); !slices.Equal(flags, b.Flags) {
		t.Errorf("Dockerfile: go build %v, .goreleaser.yaml: %v", flags, b.Flags)
	}
	ldflags := strings.NewReplacer("$VERSION", tag, "$REVISION", revision).Replace(m[2])
	if want := filled(t, strings.Join(b.Ldflags, " ")); ldflags != want {
		t.Errorf("Dockerfile: -ldflags %q, .goreleaser.yaml: %q", ldflags, want)
	}
	if !strings.Contains(dockerfile, "\nENV CGO_ENABLED=0\n") {
		t.Error("Dockerfile: CGO_ENABLED")
	}
}

func TestImagesAreLabelled(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	starts := stage.FindAllStringSubmatchIndex(dockerfile, -1)
	if len(starts) != 3 {
		t.Fatalf("%d images", len(starts))
	}
	for i, at := range starts {
		body, name := dockerfile[at[1]:], dockerfile[at[2]:at[3]]
		if i+1 < len(starts) {
			body = dockerfile[at[1]:starts[i+1][0]]
		}
		got := map[string]string{}
		for _, l := range label.FindAllStringSubmatch(body, -1) {
			got[l[1]] = l[2]
		}
		for key, want := range map[string]string{
			"version": "$VERSION", "revision": "$REVISION", "source": "https://github.com/athd/athd", "licenses": "Apache-2.0",
		} {
			if got[key] != want {
				t.Errorf("%s: label %s is %q, want %q", name, key, got[key], want)
			}
		}
		if got["title"] == "" || got["description"] == "" {
			t.Errorf("%s: no title or description: %v", name, got)
		}
		// An argument of before the first FROM is empty in a stage that does not name it.
		if !strings.HasPrefix(body, "ARG VERSION\nARG REVISION\n") {
			t.Errorf("%s: the stage does not take VERSION and REVISION", name)
		}
	}
}
