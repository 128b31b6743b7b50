package starter_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/config"
	"github.com/athd/athd/config/schema"
	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
)

var update = flag.Bool("update", false, "write testdata")

func server(t *testing.T, issuer, more string) *metadata.Document {
	t.Helper()
	d, err := metadata.Parse(fmt.Appendf(nil, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"userinfo_endpoint":%q%s}`,
		issuer, issuer+"/authorize", issuer+"/token", issuer+"/userinfo", more))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// load puts the files and what they name into a folder, and loads them as athd
// validate does.
func load(t *testing.T, dir string, f *starter.Files, secretFile string) *config.Settings {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, starter.PrivateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"athd.yaml": f.Athd, starter.AdminTokenFile: []byte(starter.NewToken().Reveal() + "\n")}
	if f.Providers != nil {
		files["providers.json"] = f.Providers
	}
	if secretFile != "" {
		files[secretFile] = []byte("s3cret\n")
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	editorTakes(t, ofConfig, f.Athd)
	if f.Providers != nil {
		editorTakes(t, ofProviders, f.Providers)
	}
	env := func(name string) (string, bool) { return "of-the-environment", slices.Contains(f.Variables, name) }
	s, faults := config.Load(filepath.Join(dir, "athd.yaml"), config.Sources{Env: env, ReadFile: config.ReadFile})
	if err := faults.Err(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, f.Athd, f.Providers)
	}
	return s
}

// A judge reads a schema, by which editors judge, once.
func judge(text []byte) func() (*jsonschema.Schema, error) {
	return sync.OnceValues(func() (*jsonschema.Schema, error) {
		rules, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("schema.json", rules); err != nil {
			return nil, err
		}
		return c.Compile("schema.json")
	})
}

var ofConfig, ofProviders = judge(schema.Config()), judge(schema.Providers())

// editorTakes wants the schema to have nothing against a document.
func editorTakes(t *testing.T, rules func() (*jsonschema.Schema, error), text []byte) {
	t.Helper()
	compiled, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := yaml.Load(text, &document); err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(document); err != nil {
		t.Errorf("an editor has something against it: %v\n%s", err, text)
	}
}

const named = `,"scopes_supported":["openid","email","products:read","orders:write","roles"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"]`

func TestWhatIsMadeLoads(t *testing.T) {
	for _, public := range []string{"http://localhost:8080", "http://127.0.0.1:18080", "http://[::1]:8080", "https://localhost", "https://localhost:8443", "https://gateway.example.com", "https://gateway.example.com:8443"} {
		for _, clientID := range []string{"", "athd", `a "quoted" #id: x`} {
			for _, secretFile := range []string{"", starter.PrivateDir + "/client.secret"} {
				check := func(what string, c starter.Choices) {
					t.Run(strings.Join([]string{what, public, clientID, secretFile}, ","), func(t *testing.T) {
						c.PublicURL, c.ClientID, c.SecretFile, c.Dir = public, clientID, secretFile, t.TempDir()
						c.Schema = "https://schema.example/athd.schema.json"
						f, err := starter.Make(c)
						if err != nil {
							t.Fatal(err)
						}
						s := load(t, c.Dir, f, secretFile)
						loopback := !strings.Contains(public, "example.com")
						if s.Development.AllowHTTP != loopback || s.Development.AllowPrivateHosts != loopback || s.Development.AcceptAnyCode || s.Development.SkipAttestation {
							t.Errorf("development options: %+v", s.Development)
						}
						if n := strings.Count(strings.Join(s.Warnings, "\n"), "development."); n != map[bool]int{true: 2, false: 0}[loopback] {
							t.Errorf("%d development options are told: %q", n, s.Warnings)
						}
						if !slices.Equal(s.Warnings, f.Warnings) {
							t.Errorf("warnings %q, and made with %q", s.Warnings, f.Warnings)
						}
						p := s.Providers.Get(f.ID)
						if p == nil || p.ClientID == "" || f.Callback != public+"/ath/callback" || p.App != nil && p.App.CallbackURL != f.Callback {
							t.Errorf("provider %+v, callback %s", p, f.Callback)
						}
						if !strings.HasPrefix(string(f.Athd), "# yaml-language-server: $schema=https://schema.example/athd.schema.json\n") {
							t.Error("editors do not find the schema")
						}
						if own := loopback && strings.HasPrefix(public, "https:"); f.OwnTLS != own || (len(s.Envoy.TLS) == 1) != own {
							t.Errorf("certificates %v, to be made: %v", s.Envoy.TLS, f.OwnTLS)
						}
						if len(s.AdminTokens) != 1 || !s.Embedded {
							t.Errorf("%d operators, embedded %v", len(s.AdminTokens), s.Embedded)
						}
					})
				}
				check("app", starter.Choices{ID: "shop", Upstream: "http://127.0.0.1:3000", Server: server(t, "https://login.example.com", named)})
				check("public client", starter.Choices{ID: "my.Shop-1", Upstream: "https://api.example.com/v1", Scopes: []string{"anything"}, Server: server(t, "https://login.example.com", named)})
				for _, preset := range starter.Presets() {
					if preset == "slack" && strings.HasPrefix(public, "http:") {
						continue
					}
					check(preset, starter.Choices{Preset: preset})
				}
			}
		}
	}
}

// An OAuth server whose metadata names a variable would be given what it holds.
func TestNothingButTheClientComesFromTheEnvironment(t *testing.T) {
	const evil = "${SHOP_CLIENT_SECRET}$${SHOP_CLIENT_SECRET}"
	choices := starter.Choices{ClientID: evil, Scopes: []string{evil}, Upstream: "http://127.0.0.1:3000", PublicURL: "http://localhost:8080"}
	for _, preset := range []string{"", "github"} {
		c := choices
		c.Dir, c.Preset = t.TempDir(), preset
		if preset == "" {
			c.Server = server(t, "https://l.example", "")
		}
		f, err := starter.Make(c)
		if err != nil {
			t.Fatal(err)
		}
		if p := load(t, c.Dir, f, "").Providers.All()[0]; p.ClientID != evil || p.Scopes[0] != evil {
			t.Errorf("%q, %q", p.ClientID, p.Scopes)
		}
	}
	c := choices
	c.Dir, c.Server = t.TempDir(), server(t, "https://l.example/${SHOP_CLIENT_SECRET}", "")
	if f, err := starter.Make(c); err == nil {
		t.Errorf("endpoints with a variable:\n%s", f.Athd)
	}
}

func TestPresetsToStartWith(t *testing.T) {
	if got := starter.Presets(); !slices.Equal(got, []string{"github", "github-app", "gmail", "google-calendar", "google-drive", "slack"}) {
		t.Errorf("presets %q", got)
	}
	for _, name := range starter.Presets() {
		p, _ := provider.PresetNamed(name)
		f, err := starter.Make(starter.Choices{Preset: name, PublicURL: "https://gateway.example.com", ClientID: "athd", Dir: t.TempDir()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s := load(t, t.TempDir(), f, "")
		got := s.Providers.Get(name)
		if got.Preset != name || got.Derived || len(got.Rules) == 0 || got.DisplayName != p.Title {
			t.Errorf("%s: %q, by names %v, %d rules, %q", name, got.Preset, got.Derived, len(got.Rules), got.DisplayName)
		}
	}
}

func TestSafeDefaultsOfAFirstConfiguration(t *testing.T) {
	d := server(t, "http://127.0.0.1:4000", named)
	f, err := starter.Make(starter.Choices{PublicURL: "http://localhost:8080", Upstream: "http://127.0.0.1:3000", Server: d, ClientID: "athd", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := load(t, t.TempDir(), f, "")
	p := s.Providers.Get("shop")
	if !slices.Equal(p.Scopes, []string{"products:read", "orders:write"}) || p.AuthMethod != provider.ClientSecretPost || p.Issuer != d.Issuer {
		t.Errorf("scopes %q, %s, issuer %s", p.Scopes, p.AuthMethod, p.Issuer)
	}
	if !strings.HasPrefix(s.Envoy.Listen, "127.0.0.1:") || s.GRPC.Network != "unix" {
		t.Errorf("Envoy listens at %s, athd at %+v", s.Envoy.Listen, s.GRPC)
	}
	if text := string(f.Athd); !strings.Contains(text, "approval: {default: review}") || !strings.Contains(text, "client_secret: ${SHOP_CLIENT_SECRET}") {
		t.Errorf("%s", text)
	}
	if !slices.Equal(f.Variables, []string{"SHOP_CLIENT_SECRET"}) {
		t.Errorf("variables %q", f.Variables)
	}
}

func TestADeepFolderHasNoSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 20))
	f, err := starter.Make(starter.Choices{PublicURL: "http://localhost:8080", Preset: "github", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if s := load(t, dir, f, ""); s.GRPC.Network != "tcp" || s.GRPC.At != "127.0.0.1:9001" {
		t.Errorf("%+v", s.GRPC)
	}
}

func TestAuthenticationThatTheServerTakes(t *testing.T) {
	for methods, want := range map[string]provider.AuthMethod{
		`["client_secret_basic"]`:                         provider.ClientSecretBasic,
		`["private_key_jwt","client_secret_post","none"]`: provider.ClientSecretPost,
		`["none"]`:            provider.NoClientAuth,
		`null`:                provider.ClientSecretBasic,
		`["private_key_jwt"]`: "",
	} {
		d := server(t, "https://login.example.com", `,"scopes_supported":["a:read"],"token_endpoint_auth_methods_supported":`+methods)
		c := starter.Choices{PublicURL: "https://gateway.example.com", Upstream: "http://127.0.0.1:3000", Server: d, ClientID: "athd", Dir: t.TempDir()}
		f, err := starter.Make(c)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "private_key_jwt") {
				t.Errorf("%s: %v", methods, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", methods, err)
			continue
		}
		s := load(t, c.Dir, f, "")
		p, err := s.Providers.Get("shop").With(d, "") // as athd does, when it has asked
		if err != nil || p.AuthMethod != want {
			t.Errorf("%s: %s, %v, want %s", methods, p.AuthMethod, err, want)
		}
		if (len(f.Variables) == 0) != (want == provider.NoClientAuth) {
			t.Errorf("%s: variables %q", methods, f.Variables)
		}
		c.SecretFile = "client.secret"
		if _, err := starter.Make(c); (err != nil) != (want == provider.NoClientAuth) {
			t.Errorf("%s, with a secret: %v", methods, err)
		}
	}
}

func TestWhatCannotBeMade(t *testing.T) {
	good := func() starter.Choices {
		return starter.Choices{PublicURL: "https://gateway.example.com", Upstream: "http://127.0.0.1:3000", Server: server(t, "https://login.example.com", named), ClientID: "athd", Dir: t.TempDir()}
	}
	for _, tt := range []struct {
		name string
		edit func(*starter.Choices)
		want string
	}{
		{"neither server nor preset", func(c *starter.Choices) { c.Server = nil }, "want an OAuth server or a preset"},
		{"both", func(c *starter.Choices) { c.Preset = "github" }, "want an OAuth server or a preset"},
		{"an unknown preset", func(c *starter.Choices) { c.Server, c.Preset = nil, "githup" }, `no preset "githup"`},
		{"a preset without a start", func(c *starter.Choices) { c.Server, c.Preset = nil, "keycloak" }, "there are github, github-app"},
		{"an http server in public", func(c *starter.Choices) { c.Server = server(t, "http://127.0.0.1:4000", named) }, "is http"},
		{"a public URL with a path", func(c *starter.Choices) { c.PublicURL += "/x" }, "public_url: want a URL of scheme and host only"},
		{"http in public", func(c *starter.Choices) { c.PublicURL = "http://gateway.example.com" }, "public_url: http is for loopback hosts only"},
		{"no upstream", func(c *starter.Choices) { c.Upstream = "" }, "upstream"},
		{"an upstream that is none", func(c *starter.Choices) { c.Upstream = "localhost:3000" }, "upstream"},
		{"an id that is none", func(c *starter.Choices) { c.ID = "my shop" }, "app_id: an app's id starts"},
		{"a scope that is none", func(c *starter.Choices) { c.Scopes = []string{"a b"} }, "available_scopes[0]"},
		{"no token endpoint", func(c *starter.Choices) { c.Server.TokenEndpoint = "" }, "token_endpoint is missing"},
		{"a line break in an endpoint", func(c *starter.Choices) { c.Server.AuthorizationEndpoint += "\nadmin: {}" }, "authorization_endpoint"},
		{"slack by http", func(c *starter.Choices) { c.Server, c.Preset, c.PublicURL = nil, "slack", "http://localhost:8080" }, "https only"},
	} {
		c := good()
		tt.edit(&c)
		if f, err := starter.Make(c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, f.Athd)
		}
	}
}

func TestScopesOfMetadata(t *testing.T) {
	for _, tt := range []struct {
		supported, chosen, left, err string
	}{
		{`["openid","profile","products:read","roles","offline_access","orders:write","products:read","a b"]`, "products:read orders:write", "roles", ""},
		{`["https://api.example.com/files.readonly"]`, "https://api.example.com/files.readonly", "", ""},
		{`["roles","web-origins"]`, "", "roles web-origins", "roles web-origins"},
		{`["openid","email"]`, "", "", "lists none of an API"},
		{`null`, "", "", "lists none of an API"},
	} {
		chosen, left, err := starter.ScopesOf(server(t, "https://login.example.com", `,"scopes_supported":`+tt.supported))
		if strings.Join(chosen, " ") != tt.chosen || strings.Join(left, " ") != tt.left {
			t.Errorf("%s: %q, left %q", tt.supported, chosen, left)
		}
		if (err == nil) != (tt.err == "") || err != nil && (!errors.Is(err, starter.ErrNoScopes) || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %v", tt.supported, err)
		}
	}
}

// What a reader finds is read by one: testdata shows it.
func TestFirstConfigurationsAsTheyAre(t *testing.T) {
	for name, c := range map[string]starter.Choices{
		"app":    {PublicURL: "http://localhost:8080", Upstream: "http://127.0.0.1:3000", Server: server(t, "https://login.example.com", named), ClientID: "athd"},
		"public": {PublicURL: "https://gateway.example.com", Upstream: "http://127.0.0.1:3000", Server: server(t, "https://login.example.com", named), ClientID: "athd", SecretFile: starter.PrivateDir + "/client.secret"},
		"github": {PublicURL: "http://localhost:8080", Preset: "github"},
	} {
		c.Dir, c.Schema = "/home/you/try", "https://raw.githubusercontent.com/athd/athd/main/config/schema/athd.schema.json"
		f, err := starter.Make(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for file, got := range map[string][]byte{name + ".yaml": f.Athd, name + ".json": f.Providers} {
			path := filepath.Join("testdata", file)
			if *update && got != nil {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if got == nil && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil || string(want) != string(got) {
				t.Errorf("%s: %v; go test ./config/starter -update writes it\n%s", path, err, got)
			}
		}
	}
}

// A new configuration names the preset of a server whose host athd knows; any
// other server has none.
func TestAnIssuerAtAKnownHostGetsItsPreset(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://shop.eu.auth0.com/": "auth0", "https://shop.okta.com/oauth2/default": "okta", "https://x.clerk.accounts.dev": "clerk",
		"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0": "entra", "https://login.example.com": "", "https://auth0.com.example": "",
	} {
		f, err := starter.Make(starter.Choices{PublicURL: "http://localhost:8080", Upstream: "http://127.0.0.1:3000", Server: server(t, issuer, named), ClientID: "athd", Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		p := load(t, t.TempDir(), f, "").Providers.Get("shop")
		if p.Preset != want || p.ExtraScopes.Has("offline_access") != (want != "") || !p.Derived {
			t.Errorf("%s: preset %q, extra scopes %q", issuer, p.Preset, p.ExtraScopes)
		}
	}
}
