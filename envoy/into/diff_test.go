package into_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/into"
)

// patched applies a difference as patch does, and wants each line that stays or
// goes to be there.
func patched(t testing.TB, text, difference string) string {
	t.Helper()
	lines := strings.SplitAfter(text, "\n")
	var out []string
	at := 0 // of lines
	all := strings.SplitAfter(difference, "\n")
	for i, line := range all {
		if line == "" || strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "+++ ") && i == 1 || line[0] == '\\' {
			continue
		}
		if i+1 < len(all) && strings.HasPrefix(all[i+1], `\ No newline`) {
			line = strings.TrimSuffix(line, "\n")
		}
		var from, gone, to, come int
		if n, _ := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &from, &gone, &to, &come); n == 4 {
			out = append(out, lines[at:from-1]...)
			if at = from - 1; len(out) != to-1 {
				t.Fatalf("%s comes after %d lines", strings.TrimSpace(line), len(out))
			}
			continue
		}
		if line[0] != '+' {
			if lines[at] != line[1:] {
				t.Fatalf("line %d is %q, not %q", at+1, lines[at], line[1:])
			}
			at++
		}
		if line[0] != '-' {
			out = append(out, line[1:])
		}
	}
	return strings.Join(append(out, lines[at:]...), "")
}

// What is shown is what is done, both ways.
func TestTheDifferenceMakesOneOfTheOther(t *testing.T) {
	text := before(t)
	for name, text := range map[string]string{
		"as it is":                   text,
		"without a last line end":    strings.TrimSuffix(text, "\n"),
		"with Windows' ends of line": strings.ReplaceAll(text, "\n", "\r\n"),
		"with a line that changes":   strings.Replace(text, "stat_prefix: http\n", "stat_prefix: http\n          normalize_path: false\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := into.Insert([]byte(text), into.Config{Parts: shop(t)})
			if err != nil {
				t.Fatal(err)
			}
			there, err := into.Diff("envoy.yaml", []byte(text), r.Text)
			if err != nil {
				t.Fatal(err)
			}
			if patched(t, text, string(there)) != string(r.Text) {
				t.Errorf("it makes another text:\n%s", there)
			}
			back, err := into.Diff("envoy.yaml", r.Text, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if patched(t, string(r.Text), string(back)) != text {
				t.Errorf("the other way round it makes another text:\n%s", back)
			}
		})
	}
}
