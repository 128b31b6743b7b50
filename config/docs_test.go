package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/config/configtest"
)

const docs = "../docs/configuration.md"

// keys lists every key of a configuration struct that holds a value, as the
// documentation names it: listen.tls.cert_file, apps[].oauth.client_id.
func keys(t reflect.Type, prefix string) []string {
	var all []string
	for f := range t.Fields() {
		if !f.IsExported() && !f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		path := prefix + name
		of := f.Type
		switch {
		case options == "inline":
			all = append(all, keys(of, prefix)...)
			continue
		case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct:
			path, of = path+"[]", of.Elem()
		}
		if _, isText := reflect.TypeAssert[interface{ UnmarshalText([]byte) error }](reflect.New(of)); of.Kind() == reflect.Struct && !isText {
			all = append(all, keys(of, path+".")...)
			continue
		}
		all = append(all, path)
	}
	return all
}

type row struct{ key, fallback, meaning string }

// rows reads the tables of the documentation.
func rows(t *testing.T, file string) map[string]row {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]row{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*?) \\| (.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		if _, twice := all[m[1]]; twice {
			t.Errorf("%s is described twice", m[1])
		}
		all[m[1]] = row{m[1], strings.TrimSpace(m[2]), strings.TrimSpace(m[3])}
	}
	return all
}

// spellings reads the table "tutorial spelling → key" of the documentation.
func spellings(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\|$").FindAllStringSubmatch(string(text), -1) {
		all[m[1]] = m[2]
	}
	return all
}

func TestEveryKeyIsDescribed(t *testing.T) {
	described, spelt := rows(t, docs), spellings(t)
	all := keys(reflect.TypeFor[yamlConfig](), "")
	if len(all) < 50 {
		t.Fatalf("only %d keys were found", len(all))
	}
	for _, key := range all {
		if _, ok := spelt[key]; ok {
			continue
		}
		if r, ok := described[key]; !ok || r.fallback == "" || len(r.meaning) < 8 {
			t.Errorf("%s: %q has no row with a default and a meaning", docs, key)
		}
	}
	for key := range described {
		if !slices.Contains(all, key) {
			t.Errorf("%s describes %q, which does not exist", docs, key)
		}
	}
}

// A file that gives a key in both spellings is refused as naming one field
// twice, so the two are one key.
func TestTutorialSpellingsAreTheSameKey(t *testing.T) {
	described, spelt := rows(t, docs), spellings(t)
	if len(spelt) < 10 {
		t.Fatalf("only %d spellings were found", len(spelt))
	}
	p := sources(configtest.NewMachine(t))
	for theirs, ours := range spelt {
		if _, ok := described[ours]; !ok {
			t.Errorf("%s: %s stands for %q, which has no row", docs, theirs, ours)
		}
		if _, ok := described[theirs]; ok {
			t.Errorf("%s: %s has a row of its own", docs, theirs)
		}
		app := map[string]any{}
		var value any = "a"
		switch ours {
		case "apps[].available_scopes":
			value = []string{"a"}
		case "apps[].skip_attestation_verification":
			value = true
		}
		put(app, strings.Split(strings.TrimPrefix(ours, "apps[]."), "."), value)
		put(app, strings.Split(strings.TrimPrefix(theirs, "apps[]."), "."), value)
		text, err := json.Marshal(map[string]any{"apps": []any{app}})
		if err != nil {
			t.Fatal(err)
		}
		last := func(key string) string { return key[strings.LastIndex(key, ".")+1:] }
		want := last(ours) + " and " + last(theirs) + " are two names of one field"
		if _, faults := Parse("/etc/athd/athd.yaml", text, p); !strings.Contains(fmt.Sprint(faults), want) {
			t.Errorf("no %q in %v", want, faults)
		}
	}
}

// TestDefaultsAreAsDescribed writes every default that the documentation
// quotes into a file: nothing may change by it.
func TestDefaultsAreAsDescribed(t *testing.T) {
	written := map[string]any{}
	if err := yaml.Load([]byte(configtest.YAML(nil)), &written); err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, r := range rows(t, docs) {
		value, quoted := strings.CutPrefix(r.fallback, "`")
		value, closed := strings.CutSuffix(value, "`")
		if !quoted || !closed || strings.Contains(r.key, "[]") || value == "listen.grpc" || value == "listen.http" ||
			r.key == "listen.insecure_grpc_without_client_auth" {
			continue
		}
		var v any = value
		if b, err := strconv.ParseBool(value); err == nil && len(value) > 1 {
			v = b
		} else if n, err := strconv.Atoi(value); err == nil {
			v = n
		}
		put(written, strings.Split(r.key, "."), v)
		said++
	}
	if said < 12 {
		t.Fatalf("only %d defaults were found", said)
	}
	text, err := json.Marshal(written)
	if err != nil {
		t.Fatal(err)
	}
	p := sources(configtest.NewMachine(t))
	want, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(nil)), p)
	if faults != nil {
		t.Fatal(faults)
	}
	got, faults := Parse("/etc/athd/athd.yaml", text, p)
	if faults != nil {
		t.Fatalf("%s\n%v", text, faults)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("with defaults written out:\n%+v\nwithout:\n%+v", got, want)
	}
}

func put(in map[string]any, path []string, v any) {
	for _, key := range path[:len(path)-1] {
		inner, ok := in[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			in[key] = inner
		}
		in = inner
	}
	in[path[len(path)-1]] = v
}

func TestTheDocumentedExampleLoads(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "```yaml\n")
	example, _, closed := strings.Cut(example, "```")
	if !found || !closed {
		t.Fatal("there is no example")
	}
	p := configtest.NewMachine(t)
	maps.Copy(p.Variables, map[string]string{"SHOP_CLIENT_SECRET": "s"})
	if _, faults := Parse("/etc/athd/athd.yaml", []byte(example), sources(p)); faults != nil {
		t.Error(faults)
	}
}
