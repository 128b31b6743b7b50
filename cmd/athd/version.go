package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/athd/athd/ath"
)

// runVersion prints what this binary is.
func runVersion(args []string, t terminal) error {
	f := newFlags("version", t)
	if err := f.parse(args); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "athd %s\n%s %s/%s\nATH protocol %s\n",
		buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH, ath.Version)
	return nil
}

// buildVersion is the module's version, or the commit that it was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	version, dirty := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			version = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	return version + dirty
}
