package verifyenvoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/stage"
)

const (
	authz      = "unix:/run/athd/authz.sock"
	adminToken = "operator-Vt8rZq2LmX5cWk9YpN4hJs7DgB1fTxR6uEoA"
)

var athctl string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "athctl-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	athctl = filepath.Join(dir, "athctl")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", athctl, "github.com/athd/athd/cmd/athctl").CombinedOutput()
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintf(os.Stderr, "building athctl: %v\n%s", err, out)
	}
	os.RemoveAll(dir)
	stage.RemoveBinary()
	os.Exit(code)
}

// run runs athctl verify-envoy and returns what it printed and its exit code.
func run(t *testing.T, server string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "admin.token")
	if err := os.WriteFile(token, []byte(adminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), athctl, append([]string{"verify-envoy", "--server", server, "--token-file", token}, args...)...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// good is the generated configuration for a provider behind TLS, one without
// and an app, and what a change adds to it.
func good(t *testing.T, change func(*bootstrap.Config)) *bootstrapv3.Bootstrap {
	t.Helper()
	parsed := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	shop := parsed("http://127.0.0.1:3000")
	set, err := provider.NewSet(
		&provider.Provider{ID: Provider, APIBase: parsed("https://" + Host)},
		&provider.Provider{ID: "plain", APIBase: parsed("http://127.0.0.1:9999/base/")},
		&provider.Provider{ID: App, APIBase: shop, App: &provider.App{Upstream: shop}},
	)
	if err != nil {
		t.Fatal(err)
	}
	config := bootstrap.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: []string{authz}, Companion: []string{"127.0.0.1:9000"},
		Providers: set, PublicURL: "http://localhost:8080", CAFile: realenvoy.NewAuthority(t).CAFile,
		Egress: egress.Policy{
			Allow: []egress.Exception{{Addresses: netip.MustParsePrefix("10.20.0.0/16")}, {Addresses: netip.MustParsePrefix("127.0.0.1/32"), Port: 3000, HTTP: true}},
			Own:   []egress.Listener{{What: "listen.http", Addr: netip.MustParseAddr("127.0.0.1"), Port: 9000}, {What: "envoy.admin", Addr: netip.MustParseAddr("10.20.0.1"), Port: 9901}},
		},
	}
	change(&config)
	text, err := bootstrap.Generate(config)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Load(text, &tree); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(data, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// Nothing more, or a route for run-time providers.
func plain(*bootstrap.Config)      {}
func runtimes(c *bootstrap.Config) { c.RuntimeProviders = true }

// What athd says besides, of run-time providers and of ext_proc.
const (
	saysRuntime = `"runtime": {"egress_allow": [{"addresses": "10.20.0.0/16"}, {"addresses": "127.0.0.1/32", "port": 3000, "http": true}],
			"own_listeners": [{"address": "127.0.0.1", "port": 9000}, {"address": "10.20.0.1", "port": 9901}]}, `
	saysExtProc = `"envoy": {"filter": "ext_proc", "streams": "watched", "streams_on_loss": "end", "replies": "checked"}, `
)

// doorFor answers as athd does for these providers, and says more.
func doorFor(t *testing.T, more string) string {
	t.Helper()
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ath/admin/providers" || r.Header.Get("X-ATH-User-Token") != adminToken {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		fmt.Fprint(w, `{"destination": "route", `+more+`"providers": [
			{"provider_id": "github", "api_base_url": "https://api.github.com"},
			{"provider_id": "plain", "api_base_url": "http://127.0.0.1:9999/base/"},
			{"provider_id": "shop", "api_base_url": "http://127.0.0.1:3000",
				"app": {"hosts": [], "path_prefix": "", "upstream": "http://127.0.0.1:3000", "unauthenticated": "deny"}}]}`)
	}))
	t.Cleanup(door.Close)
	return door.URL
}

func start(t *testing.T, b *bootstrapv3.Bootstrap) *realenvoy.Envoy {
	t.Helper()
	text, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return realenvoy.Start(t, text)
}

// What a real Envoy says of the generated configuration has no finding; what
// it says of each mutated one has the finding that it must, and no other.
func TestARealEnvoyIsVerified(t *testing.T) {
	config, door := good(t, plain), doorFor(t, "")
	t.Run("generated", func(t *testing.T) {
		e := start(t, config)
		stdout, stderr, code := run(t, door, "--envoy", e.AdminURL(), "--authz", authz, "--strict")
		if code != 0 || stdout != "1 listener, 10 routes, 5 clusters read; nothing differs.\n" {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		mustVerifyFile(t, door, e)
	})
	mustFindEach(t, config, door, Mutations())
}

// The same of the route to providers that are added while athd runs.
// proves: P-9, A-7
func TestARealEnvoyIsVerifiedForRunTimeProviders(t *testing.T) {
	config, door := good(t, runtimes), doorFor(t, saysRuntime)
	t.Run("generated", func(t *testing.T) {
		e := start(t, config)
		stdout, stderr, code := run(t, door, "--envoy", e.AdminURL(), "--authz", authz, "--strict")
		if code != 0 || stdout != "1 listener, 10 routes, 7 clusters read; nothing differs.\n" {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		// Without the route, or with one that athd does not know of.
		old := start(t, good(t, plain))
		stdout, stderr, code = run(t, door, "--envoy", old.AdminURL(), "--authz", authz, "--strict")
		if code != 1 || !strings.Contains(stdout, "no route leads to them") || !strings.Contains(stdout, "remedy: generate Envoy's configuration again, or set envoy.runtime_providers: false") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		stdout, stderr, code = run(t, doorFor(t, ""), "--envoy", e.AdminURL(), "--authz", authz)
		if code != 1 || !strings.Contains(stdout, "athd takes none (envoy.runtime_providers: false)") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	})
	mustFindEach(t, config, door, RuntimeMutations())
}

// byExtProc has athd hear of whole exchanges, and of an API's 401s.
func byExtProc(c *bootstrap.Config) {
	c.ByExtProc, c.WatchesStreams, c.ChecksReplies = true, true, true
	c.Providers.Get(Provider).RetryOn401 = true
}

// The same where ext_proc judges, streams are watched and replies checked.
// proves: P-1, V-4
func TestARealEnvoyIsVerifiedByExtProc(t *testing.T) {
	config, door := good(t, byExtProc), doorFor(t, saysExtProc)
	t.Run("generated", func(t *testing.T) {
		e := start(t, config)
		stdout, stderr, code := run(t, door, "--envoy", e.AdminURL(), "--authz", authz, "--strict")
		if code != 0 || stdout != "1 listener, 10 routes, 6 clusters read; nothing differs.\n" {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		// An Envoy of before, and an athd of before.
		old := start(t, good(t, plain))
		stdout, stderr, code = run(t, door, "--envoy", old.AdminURL(), "--authz", authz)
		for _, want := range []string{
			"it asks by ext_authz, where athd's configuration says ext_proc (envoy.filter)",
			"no filter tells athd of long exchanges, which it is to watch (envoy.streams: watched)",
			"no filter tells athd of replies, which it is to check (envoy.replies: checked)",
			"remedy: generate Envoy's configuration again, or set envoy.streams: bounded in athd.yaml",
		} {
			if code != 1 || !strings.Contains(stdout, want) {
				t.Errorf("exit code %d, without %q\n%s%s", code, want, stdout, stderr)
			}
		}
		stdout, stderr, code = run(t, doorFor(t, ""), "--envoy", e.AdminURL(), "--authz", authz)
		for _, want := range []string{"which its configuration does not name (envoy.streams: bounded)", "which its configuration does not name (envoy.replies: cleared)"} {
			if code != 0 || !strings.Contains(stdout, want) {
				t.Errorf("exit code %d, without %q\n%s%s", code, want, stdout, stderr)
			}
		}
		stdout, stderr, code = run(t, doorFor(t, `"envoy": {"filter": "ext_wasm"}, `), "--envoy", e.AdminURL())
		if code != 1 || !strings.Contains(stderr, `has envoy.filter: "ext_wasm", which this athctl does not know`) {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	})
	mustFindEach(t, config, door, JudgeMutations())
	mustFindEach(t, config, door, WatchMutations())
}

// mustFindEach holds what is found in each of some mutated configurations against
// what must be.
func mustFindEach(t *testing.T, config *bootstrapv3.Bootstrap, door string, all []Mutation) {
	t.Helper()
	for _, s := range all {
		if s.Hidden {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			mutated := Config{proto.Clone(config).(*bootstrapv3.Bootstrap)}
			s.Do(&mutated)
			e := start(t, mutated.Bootstrap)
			defer e.Stop()
			stdout, stderr, code := run(t, door, "--envoy", e.AdminURL(), "--authz", authz, "-o", "json")
			var v verify.Verification
			if err := json.Unmarshal([]byte(stdout), &v); err != nil {
				t.Fatalf("%v\n%s%s", err, stdout, stderr)
			}
			s.Check(t, v.Findings)
			if want := map[bool]int{true: 0, false: 1}[s.Warning]; code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
		})
	}
}

// mustVerifyFile gives the same dump as a file, and one that is none.
func mustVerifyFile(t *testing.T, door string, e *realenvoy.Envoy) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dump.json")
	if err := os.WriteFile(file, []byte(e.Admin("/config_dump")), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := run(t, door, "--dump", file); code != 0 || !strings.Contains(stdout, "nothing differs") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if _, stderr, code := run(t, door, "--envoy", "http://"+e.Addr("public")); code != 1 || !strings.Contains(stderr, "answered 503 to /config_dump") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// S-5
func TestConsentPagesApartAreVerified(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true, ConsentHost: "consent.localhost"})
	stdout, stderr, code := run(t, s.Public, "--envoy", s.Envoy.AdminURL(), "--authz", "unix:"+s.Dir+"/authz.sock", "--strict")
	if code != 0 || !strings.HasSuffix(stdout, "read; nothing differs.\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	// An Envoy of before, on which no host is the consent pages' own.
	before := stage.Start(t, stage.Options{Embedded: true})
	stdout, stderr, code = run(t, s.Public, "--envoy", before.Envoy.AdminURL())
	if code != 1 || !strings.Contains(stdout, `the consent pages' host "consent.localhost" has no virtual host`) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// On a whole stage, athd itself tells its providers, and the Envoy is the one
// that runs what athd bootstrap printed.
func TestAStageIsVerified(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	stdout, stderr, code := run(t, s.Public, "--envoy", s.Envoy.AdminURL(), "--authz", "unix:"+s.Dir+"/authz.sock", "--strict")
	if code != 0 || !strings.HasSuffix(stdout, "read; nothing differs.\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = run(t, s.Public, "--envoy", s.Envoy.AdminURL(), "--authz", "127.0.0.1:1")
	if code != 1 || !strings.Contains(stdout, "fault: cluster \"athd_authz\"\n  it asks ") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
