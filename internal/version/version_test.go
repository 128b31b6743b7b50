package version

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionIsWhatWasLinkedElseWhatGoNoted(t *testing.T) {
	commit := func(version, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: []debug.BuildSetting{
			{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: modified},
		}}
	}
	for _, tt := range []struct {
		name                      string
		version, revision         string
		info                      *debug.BuildInfo
		wantVersion, wantRevision string
	}{
		{"a release", "v0.1.0", "0123abc", commit("v9.9.9", "true"), "v0.1.0", "0123abc"},
		{"an image that was built with a version alone", "v0.1.0", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "v0.1.0", Unknown},
		{"go install of a version", "", "", &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}}, "v0.1.0", Unknown},
		{"go build in a clone", "", "", commit("v0.1.1-0.20261128233000-0123abc", "false"), "v0.1.1-0.20261128233000-0123abc", "0123abc"},
		{"go build in a clone with changes", "", "", commit("v0.1.1-0.20261128233000-0123abc+dirty", "true"), "v0.1.1-0.20261128233000-0123abc+dirty", "0123abc+dirty"},
		{"go build in a clone, by an older Go", "", "", commit("(devel)", "false"), Devel, "0123abc"},
		{"go build without git", "", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, Devel, Unknown},
		{"changes of no commit", "", "", &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}}, Devel, Unknown},
		{"no note at all", "", "", nil, Devel, Unknown},
	} {
		got := build(tt.version, tt.revision, tt.info)
		if want := (Build{tt.wantVersion, tt.wantRevision, runtime.Version()}); got != want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
	}
}

func TestBinaryPrintsTheVersionThatItWasLinkedWith(t *testing.T) {
	const x = "-X github.com/athd/athd/internal/version."
	program := filepath.Join(t.TempDir(), "athd")
	for _, tt := range []struct{ flags, want string }{
		{x + "linkedVersion=v1.2.3-rc.4 " + x + "linkedRevision=0123abc", "athd v1.2.3-rc.4\nrevision 0123abc\n"},
		{"", "athd devel\nrevision unknown\n"},
	} {
		build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags", "-s -w "+tt.flags, "-o", program, "../../cmd/athd")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := exec.CommandContext(t.Context(), program, "version").CombinedOutput()
		want := tt.want + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\nATH protocol 0.1\n"
		if err != nil || string(out) != want {
			t.Errorf("linked with %q: %v, printed\n%swant\n%s", tt.flags, err, out, want)
		}
	}
}
