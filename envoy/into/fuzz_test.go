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
	add := func(given []byte) {
		for i := range 8 {
			f.Add(given, []byte{byte(40 * i), byte(i), byte(200 - 30*i), byte(i + 8)})
		}
		f.Add(given, []byte(nil))
	}
	add([]byte(text))
	add([]byte(read(f, "testdata/team.yaml")))
	add([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	add([]byte(strings.TrimSuffix(text, "\n")))
	add([]byte(strings.Replace(text, "name: website", "name: |\n      website\n      # x", 1)))
	add([]byte(strings.Replace(text, "stat_prefix: http", "stat_prefix: \"a\n\n   b\"\n          normalize_path: 'false'", 1)))
	add([]byte(strings.Replace(text, "  clusters:", "  # athd:begin\n  # athd:was x\n  # athd:end\n  clusters:", 1)))
	config := into.Config{Parts: shop(f)}
	f.Fuzz(func(t *testing.T, given, edits []byte) {
		given = edit(given, edits)
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

// edit changes lines as people do: two bytes say which, and how.
func edit(text, edits []byte) []byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	for ; len(edits) > 1 && len(edits) < 64; edits = edits[2:] {
		at, rest := int(edits[0])%len(lines), ""
		line := lines[at]
		in := line[:len(line)-len(bytes.TrimLeft(line, " "))]
		switch edits[1] % 16 {
		case 0:
			line = nil
		case 1:
			line = append(bytes.Clone(line), line...)
		case 2:
			line = append([]byte("  "), line...)
		case 3:
			line = bytes.TrimPrefix(line, []byte("  "))
		case 4:
			rest = "# a comment: 'with\n"
		case 5:
			rest = "\n"
		case 6:
			rest = "- &anchor\n"
		case 7:
			rest = "key: |\n" + string(in) + "  # text\n\n" + string(in) + "   more\n"
		case 8:
			rest = "normalize_path: false # no\n"
		case 9:
			rest = "common_http_protocol_options: {}\n"
		case 10:
			rest = "common_http_protocol_options: { idle_timeout: 1s,\n" + string(in) + " max_headers_count: 7 }\n"
		case 11:
			rest = "- name: \"x\n\n" + string(in) + "  y\"\n"
		case 12:
			rest = "ignore_port_in_host_matching: false\n"
		case 13:
			rest = "typed_per_filter_config:\n" + string(in) + "- *anchor\n"
		case 14:
			line = bytes.ReplaceAll(line, []byte("\n"), []byte("\r\n"))
		case 15:
			line = bytes.TrimSuffix(line, []byte("\n"))
		}
		if rest != "" {
			line = append(append(bytes.Clone(in), rest...), line...)
		}
		lines[at] = line
	}
	return bytes.Join(lines, nil)
}
