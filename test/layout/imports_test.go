// Package layout compares the project's layout with what is written of it: which
// package imports which, and what the documents name.
package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/athd/athd/"

// allowedImports lists the packages below cmd, each with the packages of the
// project that it may import. A package may only import what is listed above it:
// there is no circle and no arrow that points up. A row covers what is in its
// directory and has no row of its own. Tests may import more: they build what
// surrounds a package.
var allowedImports = []struct {
	pkg     string
	imports []string
}{
	{"ath", nil},
	{"ath/api", []string{"ath"}},
	{"strict", []string{"ath"}},
	{"egress", nil},
	{"attest", []string{"ath", "strict", "egress"}},
	{"provider/metadata", []string{"ath", "egress"}},
	{"provider", []string{"ath", "strict", "egress", "provider/metadata"}},
	{"audit", []string{"ath", "strict"}},
	{"ratelimit", nil},
	{"canary", []string{"ath"}},
	{"client", []string{"ath", "ath/api"}},
	{"tokenstore", []string{"ath", "provider", "audit"}},
	{"vault", []string{"ath", "provider", "tokenstore", "audit"}},
	{"revocation", []string{"ath", "provider", "tokenstore", "audit"}},
	{"approval", []string{"ath"}},
	{"authz", []string{"ath", "approval", "canary", "ratelimit", "provider", "tokenstore", "audit", "vault"}},
	{"watch", []string{"ath", "provider", "tokenstore", "audit", "authz"}},
	{"issuer", []string{"ath", "provider", "provider/metadata", "tokenstore", "audit"}},
	{"catalog", []string{"ath", "provider", "tokenstore", "audit", "issuer"}},
	{"httpapi", []string{"ath", "ath/api", "audit", "ratelimit", "tokenstore"}},
	{"athflow", []string{"ath", "ath/api", "approval", "attest", "provider", "tokenstore", "vault", "audit", "ratelimit", "httpapi"}},
	{"admin", []string{"ath", "ath/api", "strict", "approval", "attest", "provider", "tokenstore", "audit", "httpapi", "vault", "authz", "issuer", "catalog", "egress", "watch"}},
	{"envoy", []string{"ath", "provider"}},
	{"envoy/server", nil},
	{"envoy/exchange", []string{"ath", "authz", "canary", "envoy"}},
	{"envoy/watcher", []string{"ath", "authz", "watch", "envoy", "envoy/exchange"}},
	{"envoy/extauthz", []string{"envoy", "envoy/exchange"}},
	{"envoy/extproc", []string{"envoy", "envoy/exchange"}},
	{"envoy/reply", []string{"ath", "audit", "authz", "canary", "envoy", "envoy/exchange", "provider", "ratelimit"}},
	{"envoy/bootstrap", []string{"ath", "egress", "provider", "envoy"}},
	{"envoy/verify", []string{"ath", "egress", "provider", "envoy"}},
	{"envoy/into", []string{"ath", "envoy", "envoy/bootstrap", "envoy/verify"}},
	{"config/schema", nil},
	{"config", []string{"ath", "ath/api", "strict", "attest", "egress", "audit", "provider", "tokenstore", "authz", "approval", "ratelimit", "watch", "httpapi", "athflow", "admin", "envoy", "envoy/bootstrap"}},
	{"config/starter", []string{"ath", "provider", "provider/metadata", "config"}},
}

// aboveInternal says who may import internal/…, the commands', the demo's and
// the tests' parts. No package that others can import is built from them.
var aboveInternal = []string{"internal/", "cmd/", "test/"}

// restrictedModules says which packages (besides cmd, internal and test) may
// import a module.
var restrictedModules = map[string][]string{
	"github.com/redis/go-redis/":           {"tokenstore"},
	"github.com/alicebob/miniredis/":       {"tokenstore"},
	"github.com/tink-crypto/":              {"tokenstore"},
	"google.golang.org/grpc":               {"envoy/server", "envoy/extauthz", "envoy/extproc"},
	"github.com/envoyproxy/":               {"envoy/exchange", "envoy/extauthz", "envoy/extproc", "envoy/bootstrap", "envoy/verify", "envoy/into"},
	"github.com/golang-jwt/":               {"attest", "client"},
	"golang.org/x/oauth2":                  {"provider"},
	"github.com/coreos/go-oidc/":           {"provider"},
	"go.yaml.in/":                          {"strict", "provider", "envoy/bootstrap", "envoy/into", "config"},
	"github.com/prometheus/client_golang/": {},
	"github.com/luikyv/":                   {},
	"github.com/spf13/":                    {},
}

// notLinked says what a command must not contain, however it gets there.
var notLinked = map[string][]string{
	"cmd/athd": {
		module + "test/", module + "cmd/", module + "client", "github.com/luikyv/", "testing",
		module + "internal/agentcli", module + "internal/browser", module + "internal/oauthserver", module + "internal/ports",
		module + "internal/shop", module + "internal/transcript", module + "internal/wire",
	},
	"cmd/athctl": {
		module + "test/", module + "cmd/", module + "internal/oauthserver", module + "internal/shop", "github.com/luikyv/", "testing",
		// doctor reads athd.yaml and asks Redis as athd does, by the same packages.
		module + "internal/ports", module + "envoy/server", module + "envoy/extauthz", module + "envoy/extproc", grpc,
	},
}

const grpc = "google.golang.org/grpc"

type listed struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func (l listed) path() string { return strings.TrimPrefix(l.ImportPath, module) }

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Name,Dir,GoFiles,Imports"}, args...)...)
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

// topLevel is the first directory of a package's path.
func topLevel(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// row returns the index of the row that covers a package of the project; -1 if
// there is none.
func row(path string) int {
	for ; path != "."; path = filepath.ToSlash(filepath.Dir(path)) {
		for i, r := range allowedImports {
			if r.pkg == path {
				return i
			}
		}
	}
	return -1
}

func hasAnyPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func TestAllowedImportsPointDownOnly(t *testing.T) {
	for i, r := range allowedImports {
		for _, to := range r.imports {
			if !slices.ContainsFunc(allowedImports[:i], func(above struct {
				pkg     string
				imports []string
			}) bool {
				return above.pkg == to
			}) {
				t.Errorf("%s may import %s, which is not listed above it", r.pkg, to)
			}
		}
	}
}

func TestPackagesImportOnlyWhatIsAllowed(t *testing.T) {
	all := goList(t, "./...")
	if len(all) < 12 {
		t.Fatalf("only %d packages were found", len(all))
	}
	for _, r := range allowedImports {
		there := slices.ContainsFunc(all, func(p listed) bool { return p.path() == r.pkg })
		if !there {
			t.Errorf("allowedImports has a package %s that is not there", r.pkg)
		}
	}
	for _, p := range all {
		for _, path := range p.Imports {
			if strings.HasPrefix(path, module+"internal/") && !hasAnyPrefix(p.path(), aboveInternal) {
				t.Errorf("%s imports %s, a part of the commands, the demo or the tests", p.path(), path)
			}
		}
		if slices.Contains([]string{"cmd", "test", "internal"}, topLevel(p.path())) {
			continue
		}
		if i := row(p.path()); i < 0 {
			t.Errorf("%s is not in allowedImports", p.path())
		} else {
			checkImports(t, p, i)
		}
	}
}

func checkImports(t *testing.T, p listed, i int) {
	t.Helper()
	own := allowedImports[i]
	for _, path := range p.Imports {
		if to, ours := strings.CutPrefix(path, module); ours {
			if j := row(to); j < 0 || j != i && !slices.Contains(own.imports, allowedImports[j].pkg) {
				t.Errorf("%s imports %s", p.path(), to)
			}
			continue
		}
		if topLevel(own.pkg) == "ath" && strings.Contains(topLevel(path), ".") {
			t.Errorf("%s imports %s, which is not in the standard library", p.path(), path)
		}
		for prefix, packages := range restrictedModules {
			if strings.HasPrefix(path, prefix) && !slices.Contains(packages, own.pkg) {
				t.Errorf("%s imports %s", p.path(), path)
			}
		}
	}
}

// What is below cmd can be imported and tested by itself.
func TestOnlyCommandsArePackagesMain(t *testing.T) {
	for _, p := range goList(t, "./...") {
		top := topLevel(p.path())
		if top == "test" || top == "cmd" && strings.Count(p.path(), "/") == 1 {
			continue
		}
		if p.Name == "main" {
			t.Errorf("%s is a package main", p.path())
		}
		if top != "internal" && slices.Contains(strings.Split(p.path(), "/"), "internal") {
			t.Errorf("%s cannot be imported from outside of its parent", p.path())
		}
	}
}

func TestCommandsDoNotLinkWhatTheyDoNotNeed(t *testing.T) {
	split := slices.ContainsFunc(goList(t, "./envoy/..."), func(p listed) bool { return p.path() == "envoy/verify" })
	for command, unwanted := range notLinked {
		if !split { // athctl needs what verifies Envoy, which is one package with what answers it
			unwanted = slices.DeleteFunc(slices.Clone(unwanted), func(prefix string) bool { return prefix == grpc })
		}
		for _, p := range goList(t, "-deps", "./"+command) {
			if p.path() != command && hasAnyPrefix(p.ImportPath, unwanted) && (p.ImportPath == "testing" || !strings.HasPrefix(p.ImportPath, "testing/")) {
				t.Errorf("%s links %s", command, p.ImportPath)
			}
		}
	}
}
