package oauthservers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/oauthservers"
	"github.com/athd/athd/test/harness/reserve"
)

// spoiled are the ways in which a configuration is wrong, each with the parts of
// athctl providers check that may not be right then.
var spoiled = []struct {
	name  string
	parts []string
	spoil func(fields map[string]any)
}{
	{"as it should be", nil, func(map[string]any) {}},
	{"wrong secret", []string{"client", "refresh"}, func(f map[string]any) { f["client_secret"] = "not-the-secret-of-athd" }},
	{"wrong auth method", []string{"client", "refresh"}, func(f map[string]any) { f["token_auth_method"] = "client_secret_basic" }},
	{"unknown scope", []string{"scopes"}, func(f map[string]any) {
		f["available_scopes"] = append([]string{"nobody:knows"}, f["available_scopes"].([]string)...)
	}},
	{"unregistered redirect URI", []string{"redirect_uri"}, func(map[string]any) {}},
}

// A verdict of athctl providers check about a real server is right, wrong or not
// told; it is right only of what the server answers otherwise when it is wrong on
// purpose.
func TestProvidersCheckAtRealServers(t *testing.T) { checks(t, oauthservers.Names) }

func checks(t *testing.T, names []string) {
	athctl := filepath.Join(t.TempDir(), "athctl")
	if out, err := exec.Command("go", "build", "-o", athctl, "github.com/athd/athd/cmd/athctl").CombinedOutput(); err != nil {
		t.Fatalf("building athctl: %v\n%s", err, out)
	}
	public := "http://" + reserve.Addr(t)
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "server\tconfiguration\tissuer\tclient\trefresh\tredirect_uri\tscopes")
	for _, name := range names {
		s := oauthservers.Start(t, name, public+ath.CallbackPath)
		for _, c := range spoiled {
			fields := maps.Clone(s.Fields("https://api.shop.example"))
			c.spoil(fields)
			at := public
			if c.name == "unregistered redirect URI" {
				at = strings.Replace(public, "127.0.0.1", "localhost", 1) // another port is nothing else to Cloudflare (RFC 8252, section 7.3)
			}
			verdicts, said := check(t, athctl, at, name, fields)
			line := fmt.Sprintf("%s\t%s\t%s\t%s", verdicts["issuer"], verdicts["client"], verdicts["refresh"], verdicts["redirect_uri"]+"\t"+verdicts["scopes"])
			fmt.Fprintf(out, "%s\t%s\t%s\n", name, c.name, line)
			wrong := "not told"
			for _, part := range c.parts {
				if verdicts[part] == string(provider.Right) && !s.Takes(c.name) {
					t.Errorf("%s, %s: %s is said to be right:\n%s", name, c.name, part, said)
				}
				if verdicts[part] == string(provider.Wrong) {
					wrong = "wrong"
				}
			}
			if c.parts == nil {
				wrong = line
			}
			if want := found[name][c.name]; wrong != strings.ReplaceAll(want, " | ", "\t") {
				t.Errorf("%s, %s: %q, want %q:\n%s", name, c.name, wrong, want, said)
			}
		}
	}
	out.Flush()
	t.Logf("\n%s", &text)
}

// check runs athctl providers check on a configuration.
func check(t *testing.T, athctl, public, id string, fields map[string]any) (verdicts map[string]string, said string) {
	t.Helper()
	dir := t.TempDir()
	providers, err := json.Marshal(map[string]any{id: fields})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "providers.json"), providers, 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "athd.yaml"), []byte(`public_url: `+public+`
listen: {grpc: "127.0.0.1:9001"}
store: {url: embedded}
providers_file: providers.json
approval: {default: approve}
development: {allow_http: true, allow_private_hosts: true}
`), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, athctl, "providers", "check", "--config", filepath.Join(dir, "athd.yaml"), "-o", "json")
	out, err := cmd.Output()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && !failed {
		t.Fatal(err)
	}
	var all []struct {
		Findings []provider.Finding `json:"findings"`
	}
	if json.Unmarshal(out, &all) != nil || len(all) != 1 {
		t.Fatalf("athctl says %s\n%s", out, exit.Stderr)
	}
	verdicts = map[string]string{}
	anyWrong := false
	for _, f := range all[0].Findings {
		verdicts[f.Part] = string(f.Verdict)
		if anyWrong = anyWrong || f.Verdict == provider.Wrong; f.Verdict == provider.Wrong && f.Cure == "" {
			t.Errorf("%s is wrong, and no cure is said", f.Part)
		}
	}
	if anyWrong != failed {
		t.Errorf("something is wrong: %v; athctl's end: %v", anyWrong, err)
	}
	return verdicts, string(out)
}

// found is what the check finds out at each server: where all is well the verdict
// of each part, else whether it names what is wrong.
var found = map[string]map[string]string{
	"oidc-provider": {
		"as it should be": "right | right | right | right | not told", "wrong secret": "wrong", "wrong auth method": "not told",
		"unknown scope": "not told", "unregistered redirect URI": "wrong",
	},
	"cloudflare": {
		"as it should be": "right | right | right | right | not told", "wrong secret": "wrong", "wrong auth method": "wrong",
		"unknown scope": "not told", "unregistered redirect URI": "wrong",
	},
	"zitadel": { // looks at a client's secret only where it refreshes
		"as it should be": "right | not told | right | right | not told", "wrong secret": "wrong", "wrong auth method": "not told",
		"unknown scope": "not told", "unregistered redirect URI": "wrong",
	},
	"dex": { // says nothing before the user has logged in
		"as it should be": "right | right | right | not told | not told", "wrong secret": "wrong", "wrong auth method": "not told",
		"unknown scope": "not told", "unregistered redirect URI": "not told",
	},
	"keycloak": {
		"as it should be": "right | right | right | right | right", "wrong secret": "wrong", "wrong auth method": "not told",
		"unknown scope": "wrong", "unregistered redirect URI": "wrong",
	},
	"spring": { // sends to its log-in page even where it refuses the redirect URI
		"as it should be": "right | right | right | not told | right", "wrong secret": "wrong", "wrong auth method": "wrong",
		"unknown scope": "wrong", "unregistered redirect URI": "not told",
	},
	"hydra": {
		"as it should be": "right | right | right | right | right", "wrong secret": "wrong", "wrong auth method": "wrong",
		"unknown scope": "wrong", "unregistered redirect URI": "wrong",
	},
}
