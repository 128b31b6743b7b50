// Package layout holds the project's import drawing against its code.
package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/athd/athd/"

// may says which rooms a room imports. cmd and test may import everything, and
// nothing imports them. A room's tests may bring more: they build what stands
// around the room.
var may = map[string][]string{
	"ath":        {},
	"strict":     {},
	"audit":      {"ath"},
	"attest":     {"ath"},
	"provider":   {"ath", "strict"},
	"tokenstore": {"ath", "provider", "audit"},
	"authz":      {"ath", "provider", "tokenstore", "audit"},
	"client":     {"ath"},
	"athflow":    {"ath", "attest", "provider", "tokenstore", "audit"},
	"envoy":      {"ath", "provider", "authz"},
	"config":     {"ath", "strict", "attest", "audit", "provider", "tokenstore", "athflow"},
}

// demonstration says who may import internal/…, the demo's and the tests'
// parts. Nothing of the product is built from them.
var demonstration = []string{"internal/", "cmd/athdemo", "cmd/athctl", "test/"}

// only says which rooms (besides cmd and test) may import a module.
var only = map[string][]string{
	"github.com/redis/go-redis/":           {"tokenstore"},
	"github.com/alicebob/miniredis/":       {"tokenstore"},
	"github.com/tink-crypto/":              {"tokenstore"},
	"google.golang.org/grpc":               {"envoy"},
	"github.com/envoyproxy/":               {"envoy"},
	"github.com/golang-jwt/":               {"attest", "client"},
	"golang.org/x/oauth2":                  {"provider"},
	"github.com/coreos/go-oidc/":           {"provider"},
	"go.yaml.in/":                          {"strict", "provider", "envoy", "config"},
	"github.com/prometheus/client_golang/": {},
	"github.com/luikyv/":                   {},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func room(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, module), "/")
	return first
}

func TestRoomsImportWhatTheDrawingSays(t *testing.T) {
	all := packages(t)
	if len(all) < len(may) {
		t.Fatalf("only %d packages were found", len(all))
	}
	seen := map[string]bool{}
	for _, p := range all {
		from := room(p.ImportPath)
		seen[from] = true
		for _, path := range p.Imports {
			if strings.HasPrefix(path, module+"internal/") && !hasAnyPrefix(strings.TrimPrefix(p.ImportPath, module), demonstration) {
				t.Errorf("%s imports %s, a part of the demo", p.ImportPath, path)
			}
		}
		if from == "cmd" || from == "test" || from == "internal" {
			continue
		}
		allowed, known := may[from]
		if !known {
			t.Errorf("%s is a room that the drawing does not have", from)
			continue
		}
		for _, path := range p.Imports {
			check(t, p.ImportPath, from, path, allowed)
		}
	}
	for r := range may {
		if !seen[r] {
			t.Errorf("the drawing has a room %q that is not there", r)
		}
	}
}

func hasAnyPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func check(t *testing.T, pkg, from, path string, allowed []string) {
	t.Helper()
	if strings.HasPrefix(path, module) {
		if to := room(path); to != from && !slices.Contains(allowed, to) {
			t.Errorf("%s imports %s", pkg, path)
		}
		return
	}
	if from == "ath" && strings.Contains(strings.Split(path, "/")[0], ".") {
		t.Errorf("%s imports %s, which is not in the standard library", pkg, path)
	}
	for prefix, rooms := range only {
		if strings.HasPrefix(path, prefix) && !slices.Contains(rooms, from) {
			t.Errorf("%s imports %s", pkg, path)
		}
	}
}

// The sidecar carries no OAuth server, no test and no client; the command line
// no demo and no handshake.
func TestProgramsLinkWhatTheyNeedOnly(t *testing.T) {
	demo := []string{module + "test/", module + "cmd/athdemo", module + "internal/oauthserver", module + "internal/shop", module + "internal/ports", "github.com/luikyv/", "testing"}
	for program, no := range map[string][]string{
		"athd":   append([]string{module + "internal/", module + "client"}, demo...),
		"athctl": append([]string{module + "athflow"}, demo...),
	} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/"+program)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.Lines(string(out)) {
			path = strings.TrimSpace(path)
			for _, prefix := range no {
				if path == prefix || prefix != "testing" && strings.HasPrefix(path, prefix) {
					t.Errorf("%s links %s", program, path)
				}
			}
		}
	}
}
