package verifyenvoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
// and an app.
func good(t *testing.T) *bootstrapv3.Bootstrap {
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
	text, err := bootstrap.Generate(bootstrap.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: []string{authz}, Companion: []string{"127.0.0.1:9000"},
		Providers: set, PublicURL: "http://localhost:8080", CAFile: realenvoy.NewAuthority(t).CAFile,
	})
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

// doorFor answers as athd does for these providers.
func doorFor(t *testing.T) string {
	t.Helper()
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ath/admin/providers" || r.Header.Get("X-ATH-User-Token") != adminToken {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		fmt.Fprint(w, `{"destination": "route", "providers": [
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
	config, door := good(t), doorFor(t)
	t.Run("generated", func(t *testing.T) {
		e := start(t, config)
		stdout, stderr, code := run(t, door, "--envoy", e.AdminURL(), "--authz", authz, "--strict")
		if code != 0 || stdout != "1 listener, 10 routes, 5 clusters read; nothing differs.\n" {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		mustVerifyFile(t, door, e)
	})
	for _, s := range Mutations() {
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
