// Package reload changes the configuration of an athd that runs, behind a real Envoy
// and under load.
package reload

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/config"
	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) { stage.Main(m) }

const (
	deniesOthers = "  default: approve\n  rules: [{agents: ['https://somebody.else/**'], action: deny}]"
	secondToken  = "operator-2-Zq8rYt2LmX5cWk9YpN4hJs7DgB1fTxR6uEoB"
)

// replaced changes a text that must be there.
func replaced(t *testing.T, text, old, new string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("there is no %q in\n%s", old, text)
	}
	return strings.Replace(text, old, new, 1)
}

// A change is one of the files, and what athd says of it.
type change struct {
	name    string
	of      string // athd.yaml, unless said
	old     string // "": new is appended
	new     string
	waits   string // a part of a warning
	refused string // a part of the reason
	less    bool   // it is taken at SIGHUP alone
}

func (c change) of_() string {
	if c.of == "" {
		return "athd.yaml"
	}
	return c.of
}

func (c change) apply(t *testing.T, base files) files {
	t.Helper()
	text := base[c.of_()]
	if c.old == "" {
		return base.with(files{c.of_(): text + c.new})
	}
	return base.with(files{c.of_(): replaced(t, text, c.old, c.new)})
}

// changes are one of each kind.
var changes = []change{
	{name: "policy", old: "  default: approve", new: deniesOthers},
	{name: "limits", old: "per_address: off", new: "per_address: off, per_agent: 5000/m"},
	{name: "the life of tokens", old: "tokens: {ttl: 1h}", new: "tokens: {ttl: 30m, renewal: {max: 30d}}"},
	{name: "the log's level", old: "level: debug", new: "level: info"},
	{name: "who runs it", new: "operator: {name: Example, contact: help@example.com}\n"},
	{name: "a token", old: "{name: ops, token_file: admin.token, role: admin}", new: "{name: ops, token_file: admin.token, role: admin}, {name: two, token_file: second.token, role: viewer}"},
	{name: "operators apart", old: "admin: {", new: "admin: {public: false, "},
	{name: "an app's scopes", old: `"orders:read"]`, new: `"orders:read", "orders:write"]`},
	{name: "a provider's name", of: "providers.json", old: "The Gallery", new: "Another gallery"},
	{name: "a provider's secret", of: "providers.json", old: "client-secret-of-the-spare-one", new: "another-secret-of-the-spare-one"},
	{name: "what Envoy has", old: "path_prefix: \"\"", new: "path_prefix: /shop", waits: "provider shop (Envoy's configuration has path_prefix"},
	{name: "where users' tokens go", of: "providers.json", old: "api.spare.example", new: "evil.spare.example", waits: "provider spare (Envoy's configuration has api_base_url"},
	{name: "a listener", new: "audit: {file: events.log}\n", waits: "restart: audit"},
	{name: "a provider less", of: "providers.json", old: `"spare": {`, new: `"spare-2": {`, less: true, waits: "provider spare-2 (Envoy's configuration has no route for it"},
}

var faults = []change{
	{name: "half a file", old: "approval:\n", new: "approval: {\n", refused: "athd.yaml:"},
	{name: "an unknown key", new: "limit: {per_agent: 5/m}\n", refused: "athd.yaml:"},
	{name: "an empty file", of: "providers.json", old: "{", new: "", refused: "providers.json:"},
	{name: "a provider without a name", of: "providers.json", old: `"display_name": "The Gallery",`, new: "", refused: "display_name"},
	{name: "no token", old: "admin: {tokens: [{name: ops, token_file: admin.token, role: admin}]}", new: "", refused: "admin.tokens"},
	{name: "nobody who may do all", old: "role: admin", new: "role: viewer", refused: "role admin"},
	{name: "a weak token", of: "admin.token", old: stage.AdminKey, new: "aaaa", refused: "token_file"},
	{name: "a development option", old: "allow_http: true", new: "allow_http: true, skip_attestation_verification: true", refused: "turned on"},
	{name: "a file that is not there", old: "token_file: admin.token", new: "token_file: nowhere.token", refused: "cannot be read"},
}

// digest is that of what lies in a stage's directory.
func digest(t *testing.T, s *stage.Stage) string {
	t.Helper()
	read := snapshot(s)
	if read.Settings == nil {
		t.Fatal(read.Faults)
	}
	return read.Digest
}

func snapshot(s *stage.Stage) config.Snapshot {
	return config.TakeSnapshot(filepath.Join(s.Dir, "athd.yaml"), config.Sources{Env: os.LookupEnv, ReadFile: config.ReadFile})
}

// Each kind of change and each kind of fault, written in each way: what is good is
// taken, what is not changes nothing, and no call fails.
func TestTheConfigurationChangesUnderLoad(t *testing.T) {
	s := stage.Start(t, stage.Options{Providers: map[string]any{"spare": spare}, Extra: "limits: {per_address: off}"})
	agent := s.NewAgent("shopper")
	shop, gallery := s.Token(agent, stage.App, "products:read"), s.NewAgent("painter")
	pictures := s.Token(gallery, stage.Provider, "pictures:read")
	must(t, os.WriteFile(filepath.Join(s.Dir, "second.token"), []byte(secondToken+"\n"), 0o600))
	base := read(t, s, "athd.yaml", "providers.json", "admin.token", "second.token")
	runs := digest(t, s)
	if got := readiness(t, s.Athd).Checks["configuration"].Digest; got != runs { // of another build
		t.Fatalf("athd says that it runs %s, and its files are %s", got, runs)
	}
	l := start(t,
		call(t, s, agent, shop, "/api/products/7"), call(t, s, agent, shop, "/api/products/8"),
		call(t, s, gallery, pictures, "/ath/proxy/gallery/pictures/7"), call(t, s, nil, shop, "/.well-known/ath.json"),
	)
	is := func(want string) func(api.ReadinessCheck, []string) bool {
		return func(c api.ReadinessCheck, _ []string) bool { return c.OK && c.Digest == want }
	}
	for _, w := range ways {
		for i, c := range changes {
			// Unannounced once in each way: it takes a second or two.
			announced := i != 0
			w.write(t, s.Dir, c.apply(t, base))
			if c.less {
				await(t, s, w.name+": "+c.name, func(c api.ReadinessCheck, _ []string) bool { return strings.Contains(c.Error, "SIGHUP only") })
			}
			if announced {
				s.Athd.Signal(syscall.SIGHUP)
			}
			await(t, s, w.name+": "+c.name, is(digest(t, s)))
			if warnings := strings.Join(readiness(t, s.Athd).Warnings, "\n"); !strings.Contains(warnings, c.waits) || c.waits == "" && strings.Contains(warnings, "waits for a restart") {
				t.Errorf("%s: %s: warnings %s", w.name, c.name, warnings)
			}
			w.write(t, s.Dir, base)
			s.Athd.Signal(syscall.SIGHUP)
			await(t, s, w.name+": back from "+c.name, is(runs))
		}
		for i, c := range faults {
			w.write(t, s.Dir, c.apply(t, base))
			s.Athd.Signal(syscall.SIGHUP)
			await(t, s, w.name+": "+c.name, func(got api.ReadinessCheck, _ []string) bool {
				return !got.OK && got.Digest == runs && strings.Contains(got.Error, c.refused)
			})
			w.write(t, s.Dir, base)
			if i != 0 { // it comes back by itself, too
				s.Athd.Signal(syscall.SIGHUP)
			}
			await(t, s, w.name+": back from "+c.name, is(runs))
		}
	}
	must(t, os.Chmod(filepath.Join(s.Dir, "providers.json"), 0o666))
	await(t, s, "a file that everybody may write", func(c api.ReadinessCheck, _ []string) bool { return strings.Contains(c.Error, "can write the file") })
	must(t, os.Chmod(filepath.Join(s.Dir, "providers.json"), 0o600))
	await(t, s, "its mode is right", is(runs))
	l.end(t, 500)
}
