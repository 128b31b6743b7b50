// Package version says which athd a binary is: one answer for `version`, the
// metric athd_build_info and the log.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/athd/athd/ath"
)

// What a release build says with -ldflags "-X …": the tag, such as v0.1.0, and
// the commit. Both are empty elsewhere. The names are also in .goreleaser.yaml
// and Dockerfile; tests build by these files and read the version back.
var linkedVersion, linkedRevision string

// What is not known.
const (
	Devel   = "devel"
	Unknown = "unknown"
)

// A Build is what is known of how a binary was built.
type Build struct {
	// Version is the tag of a release (v0.1.0), the pseudo-version of another
	// commit (v0.1.1-0.20261128233000-0123456789ab+dirty), or [Devel].
	Version string
	// Revision is the commit, with "+dirty" where files were changed, or [Unknown].
	Revision string
	// Go is the version of Go that built it, such as go1.26.8.
	Go string
}

// Current is the running binary's build: what it was linked with; else what Go
// noted, the module's version after `go install …@v0.1.0` and the commit after
// `go build` in a clone.
func Current() Build {
	info, _ := debug.ReadBuildInfo()
	return build(linkedVersion, linkedRevision, info)
}

// build takes info as it is, which may be nil.
func build(version, revision string, info *debug.BuildInfo) Build {
	b := Build{Version: version, Revision: revision, Go: runtime.Version()}
	if info != nil {
		if v := info.Main.Version; b.Version == "" && v != "(devel)" {
			b.Version = v
		}
		if b.Revision == "" {
			b.Revision = noted(info.Settings)
		}
	}
	if b.Version == "" {
		b.Version = Devel
	}
	if b.Revision == "" {
		b.Revision = Unknown
	}
	return b
}

// noted is the commit that go build found, if any.
func noted(settings []debug.BuildSetting) string {
	revision, dirty := "", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + dirty
}

// A Report is what `version` says of a program.
type Report struct {
	Program  string `json:"program"`
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"` // linux/amd64
	Protocol string `json:"ath_version"`
}

// Of is the report of the running program.
func Of(program string) Report {
	b := Current()
	return Report{program, b.Version, b.Revision, b.Go, runtime.GOOS + "/" + runtime.GOARCH, ath.Version}
}

// String is the report for people, with a line end.
func (r Report) String() string {
	return fmt.Sprintf("%s %s\nrevision %s\n%s %s\nATH protocol %s\n", r.Program, r.Version, r.Revision, r.Go, r.Platform, r.Protocol)
}
