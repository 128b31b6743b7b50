package version

import (
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
