package starter

import (
	"bytes"
	"cmp"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/config"
	"github.com/athd/athd/provider"
)

// Files are a first configuration.
type Files struct {
	Athd      []byte   // athd.yaml
	Providers []byte   // providers.json; nil: none is needed
	Variables []string // of the environment, which must be set before it loads
	ID        string   // of the app or provider
	Callback  string   // the redirect URI to register at the OAuth server
	Warnings  []string // as athd validate will tell them
	OwnTLS    bool     // a certificate and its key must be made: [CertFile], [KeyFile]
}

//go:embed athd.yaml.tmpl
var athdTemplate string

// maxSocketPath is what every system takes, in bytes.
const maxSocketPath = 100

// Make writes a configuration that athd validate accepts, once its variables
// are set and its files are there.
func Make(c Choices) (*Files, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	f := &Files{ID: v.ID, Callback: v.PublicURL + ath.CallbackPath, OwnTLS: v.OwnTLS}
	for variable, is := range map[string]bool{v.ClientVariable: c.ClientID == "", v.SecretVariable: c.SecretFile == "" && v.Secret} {
		if is {
			f.Variables = append(f.Variables, variable)
		}
	}
	slices.Sort(f.Variables)
	t, err := template.New("athd.yaml").Funcs(template.FuncMap{"q": quote}).Parse(athdTemplate)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, v); err != nil {
		return nil, err
	}
	f.Athd = text.Bytes()
	if c.Preset != "" {
		if f.Providers, err = v.providers(); err != nil {
			return nil, err
		}
	}
	return f, f.check(c.Dir)
}

// values are what the template shows.
type values struct {
	Choices
	OnThisMachine, Secret          bool
	HTTPS, OwnTLS                  bool
	CertFile, KeyFile              string
	Port, GRPC                     string
	GRPCOnTCP                      bool
	ClientVariable, SecretVariable string
	NamesUsers                     bool   // the server says who a user is
	ServerPreset                   string // what is known of such servers
	Title, APIBase                 string // of the preset
	ByName                         bool   // no host chooses the preset
	Start                          provider.PresetStart
	Admin                          string
}

func (c Choices) values() (*values, error) {
	if (c.Server == nil) == (c.Preset == "") {
		return nil, errors.New("want an OAuth server or a preset")
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("public_url: %w", err)
	}
	v := &values{Choices: c, OnThisMachine: c.Trying(), Secret: true, Admin: AdminTokenFile}
	v.HTTPS = u.Scheme == "https"
	v.OwnTLS, v.CertFile, v.KeyFile = v.HTTPS && v.OnThisMachine, CertFile, KeyFile
	v.ID = cmp.Or(c.ID, c.Preset, "shop")
	v.ClientVariable, v.SecretVariable = v.variable("CLIENT_ID"), v.variable("CLIENT_SECRET")
	switch v.Port = u.Port(); {
	case v.Port != "":
	case v.OnThisMachine:
		v.Port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	default:
		v.Port = "8080" // what is in front of Envoy leads there
	}
	if socket := filepath.Join(c.Dir, socketFile); len(socket) <= maxSocketPath {
		v.GRPC = "unix:" + socket
	} else {
		v.GRPC, v.GRPCOnTCP = "127.0.0.1:9001", true
	}
	if c.Server != nil {
		return v, v.ofServer()
	}
	return v, v.ofPreset()
}

func (v *values) ofServer() (err error) {
	if err := v.Server.Check(); err != nil {
		return fmt.Errorf("the metadata of %s: %w", v.Server.Issuer, err)
	}
	if !v.OnThisMachine && strings.HasPrefix(v.Server.Issuer, "http:") {
		return fmt.Errorf("%s is http, which is for trying out on one machine: with the public URL %s users' codes and tokens would travel in the clear", v.Server.Issuer, v.PublicURL)
	}
	method, err := authMethod(v.Server)
	if err != nil {
		return err
	}
	v.NamesUsers = v.Server.UserinfoEndpoint != ""
	if issuer, err := url.Parse(v.Server.Issuer); err == nil {
		known, _ := provider.PresetAt(issuer)
		v.ServerPreset = known.Name
	}
	if method == provider.NoClientAuth {
		if v.SecretFile != "" {
			return fmt.Errorf("%s takes public clients only, and a client secret is given", v.Server.Issuer)
		}
		v.Secret = false
	}
	if len(v.Scopes) == 0 {
		v.Scopes, _, err = ScopesOf(v.Server)
	}
	return err
}

func (v *values) ofPreset() error {
	p, known := provider.PresetNamed(v.Preset)
	if !known || p.Start.TokenEndpoint == "" {
		return fmt.Errorf("there is no preset %q to start with: there are %s", v.Preset, strings.Join(Presets(), ", "))
	}
	if p.Start.HTTPSCallback && !strings.HasPrefix(v.PublicURL, "https:") {
		return fmt.Errorf("%s sends users back to https only: want a public URL with https", p.Title)
	}
	v.Title, v.APIBase, v.Start, v.ByName = p.Title, p.APIBase, p.Start, p.ByName
	if len(v.Scopes) == 0 {
		v.Scopes = p.Start.Scopes
	}
	return nil
}

// Presets are the names of the presets that Make knows.
func Presets() []string {
	var names []string
	for _, p := range provider.Presets() {
		if p.Start.TokenEndpoint != "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// providers is providers.json, in which there are no comments.
func (v *values) providers() ([]byte, error) {
	type entry struct {
		DisplayName       string   `json:"display_name"`
		Preset            string   `json:"preset,omitempty"`
		AvailableScopes   []string `json:"available_scopes"`
		AuthorizeEndpoint string   `json:"authorize_endpoint"`
		TokenEndpoint     string   `json:"token_endpoint"`
		APIBase           string   `json:"api_base_url"`
		ClientID          string   `json:"client_id"`
		ClientSecret      string   `json:"client_secret,omitempty"`
		SecretFile        string   `json:"client_secret_file,omitempty"`
	}
	e := entry{
		DisplayName: v.Title, AvailableScopes: slices.Clone(v.Scopes), AuthorizeEndpoint: v.Start.AuthorizeEndpoint, TokenEndpoint: v.Start.TokenEndpoint,
		APIBase: v.APIBase, ClientID: cmp.Or(literal(v.ClientID), "${"+v.ClientVariable+"}"), SecretFile: literal(v.SecretFile),
	}
	if v.ByName {
		e.Preset = v.Preset
	}
	if v.SecretFile == "" {
		e.ClientSecret = "${" + v.SecretVariable + "}"
	}
	for i, s := range e.AvailableScopes {
		e.AvailableScopes[i] = literal(s)
	}
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	err := out.Encode(map[string]entry{v.ID: e})
	return text.Bytes(), err
}

// literal keeps a text what it is when the configuration is loaded: what a server
// says of itself, or a flag, must not name a variable of the environment.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// quote writes a text, as it is, as YAML in double quotes, of which JSON is a part.
func quote(s string) (string, error) {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	err := out.Encode(literal(s))
	return strings.TrimSpace(text.String()), err
}

// check loads what was made as athd validate will.
func (f *Files) check(dir string) error {
	s, faults := config.Parse(filepath.Join(dir, "athd.yaml"), f.Athd, config.Sources{
		Env: func(name string) (string, bool) { return "set-later", slices.Contains(f.Variables, name) },
		ReadFile: func(path string) ([]byte, fs.FileMode, error) {
			if filepath.Base(path) == "providers.json" {
				return f.Providers, 0o644, nil
			}
			return []byte(NewToken().Reveal()), 0o600, nil // a secret, which is written later
		},
	})
	if err := faults.Err(); err != nil {
		return err
	}
	f.Warnings = s.Warnings
	return nil
}

// NewToken makes an admin token.
func NewToken() ath.Secret { return ath.NewSecret(rand.Text() + rand.Text()) } // of 128 bits each
