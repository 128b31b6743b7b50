package config

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/config/schema"
	"github.com/athd/athd/provider"
)

// full names every kind of key, as far as they can stand together.
const full = `
public_url: https://gateway.example.com
consent_url: https://consent.example.com
listen: {grpc: '0.0.0.0:9001', http: '0.0.0.0:9000', admin: '127.0.0.1:9002', tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}
store: {url_file: redis.url, keyset_file: keyset.json, timeout: 300ms, wait_replicas: 1}
providers_file: providers.json
strict_scopes: false
apps:
  - {appId: shop, name: Shop, upstream: 'http://127.0.0.1:3000', hosts: [shop.example.com], path_prefix: /api, availableScopes: [products:read],
     aliases: [store], unauthenticated: passthrough, renewal: {max: 7d, idle: 1d}, allow_encoded: ["#"], scope_rules: [{scope: products:read, methods: [GET], paths: [/products/**], upgrade: [websocket]}],
     oauth: {authorizeEndpoint: 'https://l.example.com/a', token_endpoint: 'https://l.example.com/t', client_id: 12345, clientSecret: s,
       scope_separator: ',', empty_scope: nothing, preset: none, token_auth_method: client_secret_basic, extra_authorize_params: {a: b}, denied_errors: [no]}}
admin: {public: true, tokens: [{name: ops, token_file: admin.token, role: admin}]}
agents: [{agent_id: 'https://laptop.invalid/alice', name: Alice, public_key_file: agent.pem, developer: {name: A, id: a}}]
approval: {default: review, rules: [{agents: ['https://*.example.com/**'], hosts: ['*.example.com'], providers: [shop], scopes: ['*'], action: approve, expires: 30d}]}
operator: {name: Example, contact: help@example.com}
tokens: {ttl: 30m, remember_ended: 1h, renewal: {max: 90d, idle: 30d}}
sessions: {ttl: 5m}
callback: per_provider
consent: page
limits: {per_address: 10/s, concurrent: 100, envoy_addresses: [10.1.0.0/16]}
envoy: {listen: '0.0.0.0:8443', admin: none, tls: [{cert_file: c.pem, key_file: k.pem}], athd_grpc: ['athd:9001'], athd_http: athd:9000,
  athd_tls: {cert_file: c.pem, key_file: k.pem, ca_file: a.pem, server_name: athd}, destination: route, trusted_hops: 1}
cors: {allowed_origins: ['https://app.example']}
drain_delay: 0s
log: {format: json, level: warn}
audit: {file: /var/log/audit.log, requests: true, max_size: 1GiB, keep: 3}
runtime: {max_procs: 2, gc_percent: 200, memory_limit: 128MiB}
development: {allow_http: true}
`

// Nobody is told by an editor that a configuration is wrong which athd takes.
// Valid configurations are changed at random; whatever the schema has something
// against the loader must refuse, too.
func TestSchemaHasNothingAgainstWhatTheLoaderTakes(t *testing.T) {
	m := earlierMachine(t)
	out := sources(m.Machine)
	athd, providers := newJudge(t, schema.Config()), newJudge(t, schema.Providers())
	load := func(text string) bool {
		_, faults := Parse("/etc/athd/athd.yaml", []byte(text), out)
		return faults == nil
	}
	list := func(text string) bool {
		_, faults := provider.Parse("/etc/athd/providers.json", []byte(text), provider.Options{Env: m.Env})
		return faults == nil
	}
	r := rand.New(rand.NewPCG(7, 2026))
	for _, of := range []struct {
		name    string
		texts   []string
		judge   judge
		loads   func(string) bool
		encode  func(*yaml.Node) string
		changes int
	}{
		{"athd.yaml", append(matching(t, "testdata/f1b7ae5/*/athd.yaml"), full), athd, load, asYAML, 100},
		{"providers.json", append(matching(t, "testdata/f1b7ae5/*/providers.json"), configtest.ProvidersJSON), providers, list, asJSON, 150},
	} {
		var taken, refused, both int
		for _, text := range of.texts {
			for range of.changes {
				var root yaml.Node
				if err := yaml.Load([]byte(text), &root); err != nil {
					t.Fatal(err)
				}
				mutate(r, root.Content[0])
				changed := of.encode(&root)
				loads, err := of.loads(changed), of.judge.check(t, changed)
				switch {
				case loads && err != nil:
					t.Fatalf("%s: athd takes this, but %v:\n%s", of.name, err, changed)
				case loads:
					taken++
				case err != nil:
					both++
				default:
					refused++
				}
			}
		}
		if taken < 100 || both < 100 {
			t.Errorf("%s: the changes are too wild or too tame: %d taken, %d refused by both, %d by athd alone", of.name, taken, both, refused)
		}
	}
}

func matching(t *testing.T, glob string) []string {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s: %v", glob, err)
	}
	var texts []string
	for _, file := range files {
		texts = append(texts, read(t, file))
	}
	return texts
}

// scalars are what a value becomes.
var scalars = []string{
	`null`, `""`, `x`, `5`, `0`, `-1`, `1.5`, `true`, `[]`, `{}`, `[null]`, `[""]`, `[x]`, `"10m"`, `1d12h`, `+1m`, `0s`, `"${HOST}"`, `"a ${HOST}"`, `${HOST}`,
	`https://a.example`, `http://localhost:1`, `h2c://a:1`, `https://a.example/x?y`, `unix:/run/x.sock`, `":0"`, `"[::1]:1"`, `embedded`, `rediss://h`, `none`, `off`, `7/h`, `64MiB`, `"*"`, `/a`, `a@b.example`, `{max: 30d}`,
	`review`, `page`, `shared`, `json`, `info`, `nothing`, `github`, `" "`, `"\n"`, `GET`, `2026-01-02`, `0x10`, `a.b`, `ä`,
}

// mutate changes one thing somewhere in the tree.
func mutate(r *rand.Rand, root *yaml.Node) {
	n := root
	for len(n.Content) > 0 && r.IntN(4) > 0 {
		i := r.IntN(len(n.Content))
		if n.Kind == yaml.MappingNode {
			i |= 1
		}
		n = n.Content[i]
	}
	switch op := r.IntN(10); {
	case op < 3 && n.Kind == yaml.MappingNode && len(n.Content) > 0: // a key goes
		i := r.IntN(len(n.Content)/2) * 2
		n.Content = slices.Delete(n.Content, i, i+2)
	case op < 4 && n.Kind == yaml.MappingNode: // a key of athd's comes, wherever
		name := known[r.IntN(len(known))]
		under(n, name[strings.LastIndex(name, ".")+1:], scalar(r))
	case op < 5 && n.Kind == yaml.MappingNode && len(n.Content) > 0: // a key is misspelt
		n.Content[r.IntN(len(n.Content)/2)*2].Value += "s"
	case op < 5 && n.Kind == yaml.SequenceNode: // an entry comes
		n.Content = append(n.Content, scalar(r))
	case op < 6: // one becomes a list of one
		one := *n
		*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{&one}}
	case op < 7:
		*n = *scalar(r)
	default: // a key gets a value that is listed, or another one, where it belongs
		name := known[r.IntN(len(known))]
		value, path := schemaValues[name], strings.Split(name, ".")
		at := root
		for _, step := range path[:len(path)-1] {
			name, first := strings.CutSuffix(step, "[]")
			if at = under(at, name, nil); first && len(at.Content) > 0 {
				at = at.Content[0]
			}
		}
		v := scalar(r)
		if len(value.enum) > 0 && r.IntN(4) > 0 {
			v = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value.enum[r.IntN(len(value.enum))].(string)}
		} else if value.least != nil && r.IntN(2) > 0 {
			v = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(*value.least + r.IntN(*value.most-*value.least+2))}
		}
		under(at, path[len(path)-1], v)
	}
}

var known = keys(reflect.TypeFor[yamlConfig](), "")

// under returns the value of a key, which it sets to v unless that is nil.
func under(n *yaml.Node, name string, v *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return n
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			if v != nil {
				n.Content[i+1] = v
			}
			return n.Content[i+1]
		}
	}
	if v == nil {
		v = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, v)
	return v
}

func scalar(r *rand.Rand) *yaml.Node {
	var n yaml.Node
	if err := yaml.Load([]byte(scalars[r.IntN(len(scalars))]), &n); err != nil {
		panic(err)
	}
	return n.Content[0]
}

func asYAML(n *yaml.Node) string {
	text, err := yaml.Dump(n)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func asJSON(n *yaml.Node) string {
	text, err := json.Marshal(plainValue(n))
	if err != nil {
		panic(err)
	}
	return string(text)
}
