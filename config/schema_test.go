package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/config/schema"
	"github.com/athd/athd/provider"
)

var update = flag.Bool("update", false, "write config/schema again instead of comparing it")

func TestSchemasAreGenerated(t *testing.T) {
	described := rows(t, docs)
	for file, want := range map[string][]byte{
		"schema/athd.schema.json":      configSchema(described, spellings(t)),
		"schema/providers.schema.json": providersSchema(rows(t, "../docs/providers.md"), described),
	} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the structs and the documentation say: run make schema", file)
		}
	}
}

// A judge says what the schema has against a document.
type judge struct{ *jsonschema.Schema }

func newJudge(t testing.TB, text []byte) judge {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return judge{compiled}
}

// check reads a document as editors do, YAML 1.2 or JSON.
func (j judge) check(t testing.TB, text string) error {
	t.Helper()
	var n yaml.Node
	if err := yaml.Load([]byte(text), &n); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return j.Validate(plainValue(&n))
}

// plainValue is what JSON would have in place of a node.
func plainValue(n *yaml.Node) any {
	switch n.Kind {
	case yaml.DocumentNode:
		return plainValue(n.Content[0])
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plainValue(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, plainValue(item))
		}
		return list
	}
	var v any
	switch n.Tag {
	case "!!int", "!!float", "!!bool", "!!null":
		if err := n.Load(&v); err == nil {
			return v
		}
	}
	return n.Value
}

func TestEveryConfigurationInTheRepositoryFitsItsSchema(t *testing.T) {
	athd, providers := newJudge(t, schema.Config()), newJudge(t, schema.Providers())
	var configs, lists int
	for _, glob := range []string{"testdata/*/*/", "../deploy/compose/", "../deploy/kubernetes/overlays/*/"} {
		for _, file := range matches(t, glob+"athd.yaml") {
			configs++
			if err := athd.check(t, read(t, file)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		for _, file := range matches(t, glob+"providers.json") {
			lists++
			if err := providers.check(t, read(t, file)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	block := regexp.MustCompile("(?ms)^```(yaml|json)\n(.*?)^```")
	for _, file := range slices.Concat(matches(t, "../*.md"), matches(t, "../docs/*.md"), matches(t, "../docs/guides/*.md")) {
		for _, m := range block.FindAllStringSubmatch(read(t, file), -1) {
			switch text := m[2]; {
			case m[1] == "yaml" && strings.HasPrefix(text, "public_url:"):
				configs++
				if err := athd.check(t, text); err != nil {
					t.Errorf("%s: %v:\n%s", file, err, text)
				}
			case m[1] == "json" && strings.Contains(text, `"authorize_endpoint"`) && strings.Contains(text, `"display_name"`):
				lists++
				if err := providers.check(t, text); err != nil {
					t.Errorf("%s: %v:\n%s", file, err, text)
				}
			}
		}
	}
	if configs < 25 || lists < 8 {
		t.Errorf("only %d configurations and %d lists of providers were found", configs, lists)
	}
}

func matches(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What can be known without looking at files, other keys or the network the
// schema refuses, as the loader does.
func TestSchemaRefusesWhatTheLoaderRefuses(t *testing.T) {
	athd := newJudge(t, schema.Config())
	out := sources(configtest.NewMachine(t))
	type set = map[string]string
	const app = `app_id: shop, upstream: 'http://127.0.0.1:3000', available_scopes: [products:read]`
	const oauth = `authorize_endpoint: https://l.example.com/a, token_endpoint: https://l.example.com/t, client_id: i, client_secret: s`
	inApp := func(more string) set { return set{"apps": "[{" + app + ", oauth: {" + oauth + "}, " + more + "}]"} }
	inOAuth := func(more string) set { return set{"apps": "[{" + app + ", oauth: {" + oauth + ", " + more + "}}]"} }
	for name, parts := range map[string]set{
		"an unknown key":                       {"public_url": "https://gateway.example.com\nlisetn: {}"},
		"an unknown key below":                 {"store": "{url: embedded, cache_grants: 1}"},
		"an unknown key of an app":             inApp("app_name: x"),
		"no public_url":                        {"public_url": ""},
		"an empty public_url":                  {"public_url": "''"},
		"a public_url with a path":             {"public_url": "https://gateway.example.com/ath"},
		"a public_url without a scheme":        {"public_url": "gateway.example.com"},
		"no store":                             {"store": ""},
		"a store without a URL":                {"store": "{keyset_file: keyset.json}"},
		"a store of another kind":              {"store": "{url: 'http://127.0.0.1', keyset_file: keyset.json}"},
		"no approval":                          {"approval": ""},
		"an approval without a default":        {"approval": "{rules: []}"},
		"an unknown action":                    {"approval": "{default: maybe}"},
		"a rule without an action":             {"approval": "{default: review, rules: [{agents: ['*']}]}"},
		"a rule for nobody":                    {"approval": "{default: review, rules: [{agents: [], action: deny}]}"},
		"nothing to front":                     {"providers_file": ""},
		"a list in place of text":              {"providers_file": "[a]"},
		"text in place of a number":            {"limits": "{concurrent: many}"},
		"a variable in place of a number":      {"limits": "{concurrent: '${HOST}'}"},
		"a number that is too small":           {"limits": "{concurrent: 1}"},
		"a number that is too large":           {"limits": "{concurrent: 1000001}"},
		"text in place of yes or no":           {"strict_scopes": "maybe"},
		"an empty entry of a list":             {"cors": "{allowed_origins: [null]}"},
		"a duration without a unit":            {"tokens": "{ttl: 10}"},
		"a renewal in a word":                  {"tokens": "{renewal: on}"},
		"a renewal's length alone":             {"tokens": "{renewal: 90d}"},
		"a renewal in days without a unit":     {"tokens": "{renewal: {max: 90}}"},
		"an unknown member of a renewal":       {"tokens": "{renewal: {max: 90d, rotate: true}}"},
		"a list of renewals":                   {"tokens": "{renewal: [{max: 90d}]}"},
		"an app's renewal in a word":           inApp("renewal: never"),
		"a contact by script":                  {"operator": "{contact: 'javascript:alert(1)'}"},
		"a contact in plain http":              {"operator": "{contact: 'http://help.example.com'}"},
		"a contact that is a name":             {"operator": "{contact: the help desk}"},
		"a duration in words":                  {"sessions": "{ttl: soon}"},
		"a rate without a unit":                {"limits": "{per_address: 20}"},
		"a size without a unit":                {"audit": "{file: /var/log/a, max_size: 100}"},
		"an address without a port":            {"listen": "{http: 127.0.0.1}"},
		"a port alone":                         {"listen": "{http: 9000}"},
		"a socket with a relative path":        {"listen": "{grpc: 'unix:athd.sock'}"},
		"half of listen.tls":                   {"listen": "{tls: {cert_file: cert.pem}}"},
		"half of a certificate":                {"envoy": "{tls: {cert_file: cert.pem}}"},
		"half of a certificate in a list":      {"envoy": "{tls: [{cert_file: c.pem, key_file: k.pem}, {key_file: k.pem}]}"},
		"an unknown level":                     {"log": "{level: loud}"},
		"an unknown consent":                   {"consent": "always"},
		"an app without an id":                 {"apps": "[{" + strings.Replace(app, "app_id: shop, ", "", 1) + ", oauth: {" + oauth + "}}]"},
		"an app without its OAuth server":      {"apps": "[{" + app + "}]"},
		"an app without a client":              {"apps": "[{" + app + ", oauth: {" + strings.Replace(oauth, "client_id: i, ", "", 1) + "}}]"},
		"an app with two ids":                  inApp("appId: shop"),
		"an app with two client ids":           inOAuth("clientId: i"),
		"an app's id with a slash":             {"apps": "[{" + strings.Replace(app, "shop", "a/b", 1) + ", oauth: {" + oauth + "}}]"},
		"a scope with a comma":                 {"apps": "[{" + strings.Replace(app, "products:read", "'a,b'", 1) + ", oauth: {" + oauth + "}}]"},
		"an app without scopes":                {"apps": "[{" + strings.Replace(app, "products:read", "", 1) + ", oauth: {" + oauth + "}}]"},
		"an unknown method":                    inApp("scope_rules: [{scope: products:read, methods: [get], paths: [/a]}]"),
		"a rule without paths":                 inApp("scope_rules: [{scope: products:read, methods: [GET]}]"),
		"a relative path":                      inApp("scope_rules: [{scope: products:read, methods: [GET], paths: [a]}]"),
		"an unknown treatment of the rest":     inApp("unauthenticated: allow"),
		"an unknown preset":                    inOAuth("preset: githup"),
		"an unknown way to authenticate":       inOAuth("token_auth_method: jwt"),
		"a separator that is none":             inOAuth("scope_separator: ';'"),
		"an endpoint that is no URL":           inOAuth("userinfo_endpoint: l.example.com"),
		"a parameter that is an object":        inOAuth("extra_token_params: {a: {}}"),
		"an operator's token without its file": {"admin": "{tokens: [{name: ops}]}"},
		"an agent without a developer":         {"agents": "[{agent_id: 'https://a.example/', name: a, public_key_file: agent.pem}]"},
		"a replica that is empty":              {"envoy": "{athd_grpc: [a:1, null]}"},
	} {
		t.Run(name, func(t *testing.T) {
			text := configtest.YAML(parts)
			if _, faults := Parse("/etc/athd/athd.yaml", []byte(text), out); faults == nil {
				t.Errorf("the loader takes it:\n%s", text)
			}
			if err := athd.check(t, text); err == nil {
				t.Errorf("the schema takes it:\n%s", text)
			}
		})
	}
	if err := athd.check(t, configtest.YAML(inOAuth("preset: github"))); err != nil {
		t.Errorf("what the others were made of is refused: %v", err)
	}
}

func TestProvidersSchemaRefusesWhatTheLoaderRefuses(t *testing.T) {
	providers := newJudge(t, schema.Providers())
	good := configtest.ProvidersJSON
	for name, text := range map[string]string{
		"an id with a capital":        strings.Replace(good, `"files": {`, `"Files": {`, 1),
		"the reserved id":             strings.Replace(good, `"files": {`, `"default": {`, 1),
		"no provider but text":        `{"files": "x"}`,
		"nothing of a provider":       `{"files": null}`,
		"a list":                      `[]`,
		"an unknown key":              strings.Replace(good, `"client_id"`, `"x": 1, "client_id"`, 1),
		"the tutorial's spelling":     strings.Replace(good, `"client_id"`, `"clientId"`, 1),
		"another member for editors":  strings.Replace(good, `{"files"`, `{"$comment": "x", "files"`, 1),
		"a schema that is no text":    strings.Replace(good, `{"files"`, `{"$schema": {}, "files"`, 1),
		"no display_name":             strings.Replace(good, `"display_name": "Files", `, "", 1),
		"no scopes":                   strings.Replace(good, `["files:read"]`, "[]", 1),
		"a number in place of text":   strings.Replace(good, `"id"`, "7", 1),
		"an endpoint with a fragment": strings.Replace(good, `/token"`, `/token#a"`, 1),
	} {
		if _, faults := provider.Parse("providers.json", []byte(text), provider.Options{}); faults == nil {
			t.Errorf("%s: the loader takes it", name)
		}
		if err := providers.check(t, text); err == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
	withSchema := strings.Replace(good, `{"files"`, `{"$schema": "providers.schema.json", "files"`, 1)
	for _, text := range []string{good, withSchema} {
		if err := providers.check(t, text); err != nil {
			t.Error(err)
		}
		if all, faults := provider.Parse("providers.json", []byte(text), provider.Options{}); faults != nil || len(all) != 1 {
			t.Errorf("%d providers: %v", len(all), faults)
		}
	}
}

// The values that the schema lists are those that the loader names where it is
// given another one.
func TestSchemaListsTheValuesThatTheLoaderNames(t *testing.T) {
	out := sources(configtest.NewMachine(t))
	var found int
	for key, value := range schemaValues {
		if value.enum == nil || key == "apps[].oauth.token_kind" { // Slack's alone
			continue
		}
		faults := func(given string) string {
			var root any
			if err := yaml.Load([]byte(full), &root); err != nil {
				t.Fatal(err)
			}
			set(root.(map[string]any), strings.Split(key, "."), given)
			text, err := json.Marshal(root)
			if err != nil {
				t.Fatal(err)
			}
			_, faults := Parse("/etc/athd/athd.yaml", text, out)
			label := strings.ReplaceAll(key, "[]", "[0]")
			label = strings.TrimPrefix(label, "apps[0].")
			for _, f := range faults {
				if rest, ok := strings.CutPrefix(f.Message, label); ok {
					return rest
				}
			}
			return ""
		}
		message := faults("nonsense")
		if message == "" {
			t.Errorf("%s: the loader takes nonsense", key)
			continue
		}
		_, wanted, said := strings.Cut(message, "want ")
		wanted, _, _ = strings.Cut(wanted, ":")
		var listed []string
		for _, v := range value.enum {
			listed = append(listed, v.(string))
			if m := faults(v.(string)); strings.Contains(m, "want ") {
				t.Errorf("%s: %q is listed, but: %s", key, v, m)
			}
		}
		if key == "apps[].oauth.preset" || key == "apps[].oauth.scope_separator" || strings.HasSuffix(key, "renewal") {
			continue // in other words
		}
		found++
		if words := strings.FieldsFunc(strings.ReplaceAll(wanted, " or ", ", "), func(r rune) bool { return strings.ContainsRune(", \"", r) }); !said || !slices.Equal(slices.Sorted(slices.Values(words)), slices.Sorted(slices.Values(listed))) {
			t.Errorf("%s: the schema lists %q, the loader says: %s", key, listed, message)
		}
	}
	if found < 12 {
		t.Errorf("only %d keys were compared", found)
	}
}

// set replaces the value of a key of full; a[] is the first entry of a list.
func set(in map[string]any, path []string, v any) {
	name, first := strings.CutSuffix(path[0], "[]")
	if first {
		set(in[name].([]any)[0].(map[string]any), path[1:], v)
		return
	}
	if len(path) > 1 {
		set(in[name].(map[string]any), path[1:], v)
		return
	}
	if _, list := in[name].([]any); list {
		v = []any{v}
	}
	in[name] = v
}

func TestProvidersSchemaDescribesEveryField(t *testing.T) {
	var s struct {
		Entry struct {
			Properties map[string]struct{ Description string } `json:"properties"`
		} `json:"additionalProperties"`
	}
	if err := json.Unmarshal(schema.Providers(), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Entry.Properties) < 20 {
		t.Fatalf("only %d fields were found", len(s.Entry.Properties))
	}
	for name, p := range s.Entry.Properties {
		if len(p.Description) < 8 && name != "scope_rules" && name != "renewal" { // whose members are
			t.Errorf("%s is not described: neither docs/providers.md nor the apps of docs/configuration.md have it", name)
		}
	}
}
