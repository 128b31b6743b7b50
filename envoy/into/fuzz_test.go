package into_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/envoy/into"
)

// Whatever is given, it is refused, or what comes back is YAML, has the lines
// that were given, in their order, around athd's, and is the same the second time.
func FuzzWhatIsNotAthdsStays(f *testing.F) {
	text := before(f)
	f.Add([]byte(text))
	f.Add([]byte(read(f, "testdata/team.yaml")))
	f.Add([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	f.Add([]byte(strings.TrimSuffix(text, "\n")))
	f.Add([]byte(strings.Replace(text, "name: website", "name: |\n      website\n      # x", 1)))
	f.Add([]byte(strings.Replace(text, "stat_prefix: http", "stat_prefix: \"a\n\n   b\"\n          normalize_path: 'false'", 1)))
	f.Add([]byte(strings.Replace(text, "  clusters:", "  # athd:begin\n  # athd:was x\n  # athd:end\n  clusters:", 1)))
	config := into.Config{Parts: shop(f)}
	f.Fuzz(func(t *testing.T, given []byte) {
		r, err := into.Insert(given, config)
		if refusal := (*into.Refusal)(nil); err != nil && !errors.As(err, &refusal) {
			t.Fatalf("it is no refusal: %v", err)
		}
		if err != nil {
			return
		}
		was, err := into.Remove(given)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := into.Remove(r.Text)
		if err != nil || !bytes.Equal(rest, was) {
			t.Fatalf("other lines than were given: %v\n%s", err, rest)
		}
		var tree any
		if err := yaml.Load(r.Text, &tree); err != nil {
			t.Fatalf("%v\n%s", err, r.Text)
		}
		again, err := into.Insert(r.Text, config)
		if err != nil || !bytes.Equal(again.Text, r.Text) {
			t.Fatalf("the second time changes it: %v", err)
		}
		if _, err := into.Diff("x", given, r.Text); err != nil {
			t.Fatal(err)
		}
	})
}
