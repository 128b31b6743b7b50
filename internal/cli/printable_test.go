package cli

import (
	"strings"
	"testing"
)

// What agents and servers say must not steer a terminal.
func TestPrintableTakesWhatSteers(t *testing.T) {
	const hostile = "a\x1b[2J\r\u202eb\x00\xff\tü"
	if got := Printable(hostile, 100); got != "a?[2J??b???ü" {
		t.Errorf("Printable = %q", got)
	}
	if got := Printable("abcdef", 3); got != "abc…" {
		t.Errorf("cut to %q", got)
	}
	for s, want := range map[string]string{
		"/ath/proxy/github/user": "/ath/proxy/github/user", "/a?b": "'/a?b'", "": "''", "my folder": "'my folder'",
		"/$(id);`id`|&>x": "'/$(id);`id`|&>x'", "/it's": `'/it'\''s'`, "a\nb": "'a?b'",
	} {
		if got := ShellWord(s, 100); got != want {
			t.Errorf("%q is the word %s, want %s", s, got, want)
		}
	}
	var out strings.Builder
	n, err := PrintableWriter{&out}.Write([]byte("a\x1b[2J\tb\nc"))
	if err != nil || n != 9 || out.String() != "a?[2J\tb\nc" {
		t.Errorf("wrote %d, %v: %q", n, err, &out)
	}
}
