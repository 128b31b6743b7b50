package layout

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const architecture = "../../docs/architecture.md"

// drawing is allowedImports as mermaid draws it. An arrow that follows from
// others (a imports b, b imports c) is left out, so that the layers show.
func drawing() string {
	var b strings.Builder
	b.WriteString("flowchart BT\n")
	for i, r := range allowedImports {
		for _, to := range r.imports {
			if !slices.ContainsFunc(r.imports, func(via string) bool { return via != to && reaches(i, via, to) }) {
				fmt.Fprintf(&b, "    %s --> %s\n", r.pkg, to)
			}
		}
	}
	return b.String()
}

// reaches reports whether a package above row i imports another, by whatever
// others.
func reaches(i int, from, to string) bool {
	for j, r := range allowedImports[:i] {
		if r.pkg == from {
			return slices.ContainsFunc(r.imports, func(next string) bool { return next == to || reaches(j, next, to) })
		}
	}
	return false
}

var mermaid = regexp.MustCompile("(?s)```mermaid\n(.*?)```")

// The drawing of docs/architecture.md is allowedImports, which is compared with
// go list, and each package has its line there.
func TestArchitectureDrawsTheImports(t *testing.T) {
	text, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	want := drawing()
	m := mermaid.FindSubmatchIndex(text)
	if m == nil {
		t.Fatalf("%s has no drawing", architecture)
	}
	if got := string(text[m[2]:m[3]]); got != want {
		if os.Getenv("ATHD_UPDATE_DRAWING") != "1" {
			t.Errorf("%s draws\n%s\nand allowedImports is\n%s\nATHD_UPDATE_DRAWING=1 writes it", architecture, got, want)
		} else if err := os.WriteFile(architecture, slices.Concat(text[:m[2]], []byte(want), text[m[3]:]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range allowedImports {
		if !strings.Contains(string(text), "\n| `"+r.pkg+"` | ") {
			t.Errorf("%s does not say what %s is for", architecture, r.pkg)
		}
	}
}
