package strict_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/strict"
)

type config struct {
	Name     string            `yaml:"name"`
	Port     int               `yaml:"port"`
	On       bool              `yaml:"on"`
	TTL      time.Duration     `yaml:"ttl"`
	Ratio    float64           `yaml:"ratio"`
	Hosts    []string          `yaml:"hosts"`
	TLS      *tls              `yaml:"tls"`
	Apps     []app             `yaml:"apps"`
	Extra    map[string]string `yaml:"extra"`
	Upper    upper             `yaml:"upper"`
	Small    int8              `yaml:"small"`
	Shared   `yaml:",inline"`
	internal string //nolint:unused // it is no key, though it has the name of one
}

type Shared struct {
	Origin string `yaml:"origin"`
}

type tls struct {
	CertFile string `yaml:"cert_file"`
}

type app struct {
	ID       string `yaml:"app_id"`
	Upstream string `yaml:"upstream"`
}

type upper struct{ text string }

func (u *upper) UnmarshalText(b []byte) error {
	if s := string(b); s == strings.ToUpper(s) {
		u.text = s
		return nil
	}
	return errors.New("not upper: " + string(b))
}

func TestYAMLReadsEveryKind(t *testing.T) {
	var c config
	_, faults := strict.YAML("athd.yaml", []byte(`
name: 123456.7890   # an unquoted client id is text
port: 8080
on: true
ttl: 10m
ratio: 0.5
hosts: [a, "b"]
tls: {}
apps:
  - app_id: shop
    upstream: http://127.0.0.1:3000
extra: {audience: x}
upper: ABC
small: 5
origin: here
`), &c)
	if faults != nil {
		t.Fatal(faults)
	}
	if c.Name != "123456.7890" || c.Port != 8080 || !c.On || c.TTL != 10*time.Minute || c.Ratio != 0.5 ||
		len(c.Hosts) != 2 || c.TLS == nil || c.Apps[0].Upstream != "http://127.0.0.1:3000" ||
		c.Extra["audience"] != "x" || c.Upper.text != "ABC" || c.Small != 5 || c.Origin != "here" {
		t.Errorf("got %+v", c)
	}
}

func TestYAMLFaults(t *testing.T) {
	const secret = "hunter2"
	tests := []struct{ name, in, want string }{
		{"all faults at once, in order of place", "nam: x\nport: x\nhosts: a\ntls: [1]\napps:\n  - {app_id: [x], upstrem: y}\n",
			`f:1:1: unknown key "nam", did you mean "name"?
f:2:7: want a whole number, got text
f:3:8: want a list, got text
f:4:6: want an object, got a list
f:6:14: want text, got a list
f:6:19: unknown key "upstrem", did you mean "upstream"?`},
		{"unknown key without a neighbour", "zzzz: 1\n", `f:1:1: unknown key "zzzz"`},
		{"unexported fields are no keys", "internal: 1\n", `f:1:1: unknown key "internal"`},
		{"key twice", "name: a\nport: 1\nname: b\n", `f:3:1: key "name" is given twice, first in line 1`},
		{"key twice where any key goes", "extra: {a: x, a: y}\n", `f:1:15: key "a" is given twice, first in line 1`},
		{"duration", "ttl: 10\n", "f:1:6: want a duration such as 90s, 10m or 24h, got a number"},
		{"yes is not true", "on: yes\n", "f:1:5: want true or false, got text"},
		{"a list entry that is empty", "hosts:\n  - a\n  -\n", "f:3:4: an empty list entry"},
		{"out of range", "small: 300\n", "f:1:8: not a valid value"},
		{"a refusal by UnmarshalText", "upper: " + secret + "\n", "f:1:8: not a valid value"},
		{"two documents", "name: a\n---\nname: b\n", "f: the file is empty or contains more than one document"},
		{"empty", "", "f: the file is empty or contains more than one document"},
		{"only a comment", "# nothing\n", "f: the file is empty or contains more than one document"},
		{"not an object", "5\n", "f:1:1: want an object, got a number"},
		{"merge key", "<<: {name: x}\n", "f:1:1: merge keys are not used here"},
		{"key that is a list", "? [a]\n: b\n", "f:1:3: want a key, got a list"},
		{"unknown alias", "name: *" + secret + "\n", "f:1:7: anchors and aliases are not used here: put a value that starts with * or & in quotes"},
		{"anchor", "name: &a x\n", "f:1:7: anchors and aliases are not used here: put a value that starts with * or & in quotes"},
		{"tag", "name: !x " + secret + "\n", "f:1:7: tags are not used here: put a value that starts with ! in quotes"},
		{"wrong tag", "port: !!int " + secret + "\n", "f:1:7: tags are not used here: put a value that starts with ! in quotes"},
		{"syntax", "name: a\n b: c\n", "f:2:3: not valid YAML: mapping values are not allowed in this context"},
		{"tab", "tls:\n\tcert_file: x\n", "f:2:1: not valid YAML: found character that cannot start any token"},
		{"not UTF-8", "name: \xff\n", "f: the file is not UTF-8 text"},
		{"too large", "name: " + strings.Repeat("x", strict.MaxBytes), "f: the file is larger than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c config
			doc, faults := strict.YAML("f", []byte(tt.in), &c)
			if got := faults.Error(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if doc == nil {
				t.Error("no document")
			}
			if strings.Contains(faults.Error(), secret) {
				t.Error("a fault shows a value")
			}
		})
	}
}

func TestYAMLBombIsRefused(t *testing.T) {
	in := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		p := string(c - 1)
		in += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+p+",", 8) + "*" + p + "]\n"
	}
	var v map[string]any
	if _, faults := strict.YAML("f", []byte(in), &v); len(faults) == 0 {
		t.Error("accepted")
	}
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for name, read := range map[string]func(string, []byte, any) (*strict.Document, strict.Faults){"YAML": strict.YAML, "JSON": strict.JSON} {
		var v any
		if _, faults := read("f", []byte(deep), &v); len(faults) != 1 || !strings.Contains(faults[0].Message, "more than 32 levels") {
			t.Errorf("%s: 40 levels: got %v", name, faults)
		}
	}
}

func TestManyKeysAreReadInTime(t *testing.T) {
	var in strings.Builder
	for i := 0; in.Len() < strict.MaxBytes-20; i++ {
		fmt.Fprintf(&in, "k%d: 1\n", i)
	}
	var v map[string]string
	start := time.Now()
	if _, faults := strict.YAML("f", []byte(in.String()), &v); faults != nil {
		t.Fatal(faults[0])
	}
	if took := time.Since(start); took > 20*time.Second { // each with each: minutes
		t.Errorf("took %v", took)
	}
}

func TestFaultyFileIsStillRead(t *testing.T) {
	var c config
	_, faults := strict.YAML("f", []byte("name: shop\nfoo: 1\nport: x\napps: [{app_id: a}]\n"), &c)
	if len(faults) != 2 {
		t.Fatalf("got %v", faults)
	}
	if c.Name != "shop" || len(c.Apps) != 1 || c.Apps[0].ID != "a" {
		t.Errorf("what is sound was not read: %+v", c)
	}
}

func TestJSONRefusesWhatYAMLWouldTake(t *testing.T) {
	const secret = "hunter2"
	tests := []struct{ name, in, want string }{
		{"sound", "{\n\t\"name\": \"a\\/b\\u00e9\",\n\t\"port\": 1, \"ratio\": 1e2, \"on\": true, \"tls\": null, \"hosts\": [\"x\"]}", ""},
		{"faults with places", "{\n\t\"nam\": \"" + secret + "\",\n\t\"é\": 1, \"port\": \"x\",\n  \"hosts\" : [ 1 ]}",
			`f:2:2: unknown key "nam", did you mean "name"?
f:3:2: unknown key "é"
f:3:18: want a whole number, got text
f:4:15: want text, got a number`},
		{"text is quoted", `{"name": true}`, "f:1:10: want text, got true or false"},
		{"member twice", "{\"name\": \"a\",\n\"name\": \"b\"}", `f:2:1: key "name" is given twice, first in line 1`},
		{"member twice, deep", `{"extra": {"a": "1", "a": "2"}}`, `f:1:22: key "a" is given twice, first in line 1`},
		{"trailing data", "{}\n{}", "f:2:1: not valid JSON: invalid character '{' after top-level value"},
		{"trailing comma", "{\"port\": 1,\n}", "f:2:1: not valid JSON: invalid character '}' looking for beginning of object key string"},
		{"cut off", `{"name": "a`, "f:1:12: not valid JSON: unexpected end of JSON input"},
		{"no comma", `{"port": 1 "on": true}`, `f:1:12: not valid JSON: invalid character '"' after object key:value pair`},
		{"empty", " \n", "f: the file is empty"},
		{"not UTF-8", "{\"name\": \"\xff\"}", "f: the file is not UTF-8 text"},
		{"not an object", `[]`, "f:1:1: want an object, got a list"},
		{"a number with an exponent is not whole", `{"port": 1e3}`, "f:1:10: want a whole number, got a number"},
		{"null in a list", `{"hosts": ["a", null]}`, "f:1:17: an empty list entry"},
		{"text that looks like a tag or an alias", `{"name": "!!int &x *y", "origin": "<<", "extra": {"<<": "x"}}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c config
			_, faults := strict.JSON("f", []byte(tt.in), &c)
			if got := faults.Error(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if strings.Contains(faults.Error(), secret) {
				t.Error("a fault shows a value")
			}
		})
	}
	var c config
	if strict.JSON("f", []byte("{\n\t\"name\": \"a\\/b\\u00e9\\ud83d\\ude00 1\", \"ttl\": \"5s\"}"), &c); c.Name != "a/bé😀 1" || c.TTL != 5*time.Second {
		t.Errorf("got %+v", c)
	}
}

func TestDocumentFindsLineAndColumnOfAPath(t *testing.T) {
	var c config
	doc, faults := strict.YAML("f", []byte("name: x\napps:\n  - app_id: a\n    upstream: u\n  - app_id: b\n"), &c)
	if faults != nil {
		t.Fatal(faults)
	}
	tests := []struct {
		path         []any
		line, column int
		has          bool
	}{
		{nil, 1, 1, true},
		{[]any{"apps"}, 2, 1, true},
		{[]any{"apps", 0}, 3, 5, true},
		{[]any{"apps", 0, "upstream"}, 4, 5, true},
		{[]any{"apps", 1, "upstream"}, 5, 5, false},
		{[]any{"apps", 7, "upstream"}, 2, 1, false},
		{[]any{"nowhere", "else"}, 1, 1, false},
		{[]any{"name", "deeper"}, 1, 1, false},
	}
	for _, tt := range tests {
		if line, column := doc.At(tt.path...); line != tt.line || column != tt.column || doc.Has(tt.path...) != tt.has {
			t.Errorf("%v: got %d:%d %v, want %d:%d %v", tt.path, line, column, doc.Has(tt.path...), tt.line, tt.column, tt.has)
		}
	}
	if got := doc.Fault("bad", "apps", 0, "upstream").String(); got != "f:4:5: bad" {
		t.Errorf("got %q", got)
	}
	var none strict.Document
	if f := none.Fault("bad", "x"); f.Line != 0 || none.Has() || none.Faulty() {
		t.Errorf("the zero document has places: %v", f)
	}
}

func TestExpandReplacesVariables(t *testing.T) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"HOST": "example.org", "EMPTY": "", "TRICK": "${HOST}", "NUMBER": "17"}[name]
		return v, ok
	}
	tests := []struct{ name, in, want, fault string }{
		{"plain", "a$b{c}", "a$b{c}", ""},
		{"within text", "https://${HOST}/x", "https://example.org/x", ""},
		{"twice", "${HOST}${HOST}", "example.orgexample.org", ""},
		{"empty is set", "a${EMPTY}b", "ab", ""},
		{"escaped", "$${HOST}", "${HOST}", ""},
		{"escaped, then real", "$${x} ${HOST}", "${x} example.org", ""},
		{"not expanded again", "${TRICK}", "${HOST}", ""},
		{"stays text", "${NUMBER}", "17", ""},
		{"unset", "${NOBODY}", "", "environment variable NOBODY is not set"},
		{"not closed", "x${HOST", "", "want ${NAME}"},
		{"no name", "${}", "", "want ${NAME}"},
		{"not a name", "${a-b}", "", "want ${NAME}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c config
			doc, faults := strict.YAML("f", []byte("extra:\n  ${HOST}: '"+tt.in+"'\n"), &c)
			if faults != nil {
				t.Fatal(faults)
			}
			for range 2 { // the second pass must change nothing and repeat no fault
				c = config{}
				if faults = append(faults, doc.Expand(env, &c)...); tt.fault == "" && c.Extra["${HOST}"] != tt.want {
					t.Errorf("got %q, want %q", c.Extra["${HOST}"], tt.want)
				}
			}
			switch {
			case tt.fault == "" && len(faults) > 0:
				t.Errorf("faults %v", faults)
			case tt.fault != "" && (len(faults) != 1 || !strings.HasPrefix(faults[0].Message, tt.fault) || faults[0].Line != 2):
				t.Errorf("got faults %v, want %q", faults, tt.fault)
			case tt.fault != "" && (!doc.Faulty("extra") || !doc.Faulty("extra", "${HOST}") || doc.Faulty("name")):
				t.Error("Faulty does not know")
			}
		})
	}
	t.Run("below a path only", func(t *testing.T) {
		var c config
		doc, _ := strict.YAML("f", []byte("name: ${NOBODY}\napps: [{app_id: 'x${NUMBER}'}]\n"), &c)
		var a app
		if faults := doc.Expand(env, &a, "apps", 0); faults != nil || a.ID != "x17" {
			t.Errorf("got %+v, %v", a, faults)
		}
		if faults := doc.Expand(env, &a, "apps", 1); faults != nil || a.ID != "x17" {
			t.Errorf("a path to nothing changed the target: %+v, %v", a, faults)
		}
	})
}

func TestFaultsErr(t *testing.T) {
	if err := (strict.Faults)(nil).Err(); err != nil {
		t.Errorf("no faults are an error: %v", err)
	}
	f := strict.Faults{{File: "b", Line: 1}, {File: "a", Line: 2, Column: 2}, {File: "a", Line: 2, Column: 1}, {File: "b", Line: 1}}.Sort()
	if len(f) != 3 || f[0].Column != 1 || f[2].File != "b" {
		t.Errorf("got %v", f)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("name: x\nhosts: [a]\n")
	f.Add("{\"name\": \"\\ud800\", \"apps\": [{\"app_id\": 1}]}")
	f.Add("a: &a [*a]")
	f.Add("? {a: b}\n: c\n<<: 1")
	f.Add("name: ${A}\n")
	f.Fuzz(func(t *testing.T, in string) {
		env := func(string) (string, bool) { return "v", true }
		for _, read := range []func(string, []byte, any) (*strict.Document, strict.Faults){strict.YAML, strict.JSON} {
			var c config
			doc, faults := read("f", []byte(in), &c)
			for _, x := range faults {
				if x.Message == "" || x.Line < 0 || x.Line > strings.Count(in, "\n")+strings.Count(in, "\r")+strings.Count(in, "\u0085")+strings.Count(in, "\u2028")+strings.Count(in, "\u2029")+2 {
					t.Errorf("a fault without a place or a text: %+v", x)
				}
			}
			doc.Expand(env, &config{})
		}
	})
}
