package athflow

import (
	"strings"
	"testing"
)

// What agents say of themselves cannot change how the page around it reads.
func TestShownTextIsPlain(t *testing.T) {
	for in, want := range map[string]string{
		"Agent":                     "Agent",
		"  two\n lines\t":           "two  lines",
		"a\u202eb\u2066c\u200bd":    "abcd",
		"\x00\x1b[31mred":           "[31mred",
		"\xff\xfe":                  "",
		"Müller & Söhne <b>":        "Müller & Söhne <b>",
		strings.Repeat("ä", 200):    strings.Repeat("ä", 120) + "…",
		strings.Repeat("\u202e", 9): "",
	} {
		if got := shown(in); got != want {
			t.Errorf("%q shows as %q, want %q", in, got, want)
		}
	}
}
