// Package configtest has a machine with files, certificates and an athd.yaml, for
// tests of configurations.
package configtest

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/athd/athd/attest"
	"github.com/athd/athd/tokenstore"
)

// ProvidersJSON is a providers.json of one provider with nothing special.
const ProvidersJSON = `{"files": {"display_name": "Files", "available_scopes": ["files:read"],
	"authorize_endpoint": "https://files.example.com/authorize", "token_endpoint": "https://files.example.com/token",
	"client_id": "id", "client_secret": "secret"}}`

// agentPEM is the example key of RFC 7515, appendix A.3.
var agentPEM = func() string {
	key, err := attest.ParsePublicKey([]byte(`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`))
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}()

// A Machine has a few files and variables, for a configuration to refer to.
type Machine struct {
	Files     map[string]string
	Modes     map[string]fs.FileMode // 0600 unless said
	Variables map[string]string
}

// Env returns a variable, as os.LookupEnv does.
func (m Machine) Env(name string) (string, bool) {
	v, ok := m.Variables[name]
	return v, ok
}

// ReadFile returns a file's content and mode, or fs.ErrNotExist.
func (m Machine) ReadFile(path string) ([]byte, fs.FileMode, error) {
	data, ok := m.Files[path]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	if mode, said := m.Modes[path]; said {
		return []byte(data), mode, nil
	}
	return []byte(data), 0o600, nil
}

// NewMachine returns a machine whose /etc/athd holds one file of each kind
// that a configuration can name, and some that are faulty.
func NewMachine(t testing.TB) Machine {
	keyset, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	data, err := keyset.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	pki := NewPKI(t)
	return Machine{
		Files: map[string]string{
			"/etc/athd/providers.json": ProvidersJSON,
			"/etc/athd/empty.json":     "{}",
			"/etc/athd/bare.json":      strings.Replace(ProvidersJSON, "files:read", "files:like", 1),
			"/etc/athd/redundant.json": strings.Replace(ProvidersJSON, "}}", `, "scope_rules": [
	{"scope": "files:read", "methods": ["GET", "HEAD"], "paths": ["/files/**", "/files/7"]},
	{"scope": "files:read", "methods": ["HEAD"], "paths": ["/files/9"]}]}}`, 1),
			"/etc/athd/keyset.json": string(data),
			"/etc/athd/admin.token": "qHkW0mZ9vT3sYpL7xR2cN8fJ5gD1bK4uE6aVwXoQiM0\n",
			"/etc/athd/again.token": "qHkW0mZ9vT3sYpL7xR2cN8fJ5gD1bK4uE6aVwXoQiM0",
			"/etc/athd/long.token":  "Zt5KpW8mXc2VnQ7rJ4hLs9YdF1gB6xRkT3vNqE0aUoM",
			"/etc/athd/third.token": "Wc7RkT2vNq9E0aUoMZt5Kp8mX4VnQ3rJ6hLs1YdFgBx",
			"/etc/athd/short.token": "aaaaaaaaaaaaaaaa\n",
			"/etc/athd/two.token":   "qHkW0mZ9vT3sYpL7xR2cN8fJ5gD1bK4uE6aVwXoQiM0\nZt5KpW8mXc2VnQ7rJ4hLs9YdF1gB6xRkT3vNqE0aUoM\n",
			"/etc/athd/none.token":  "\n",
			"/etc/athd/redis.url":   "redis://:hunter2@127.0.0.1:6379/0\n",
			"/etc/athd/cert.pem":    pki.Cert, "/etc/athd/key.pem": pki.Key, "/etc/athd/ca.pem": pki.CA,
			"/etc/athd/otherkey.pem": pki.ClientKey,
			"/etc/athd/agent.pem":    agentPEM, "/etc/athd/open.pem": agentPEM,
			"/etc/athd/agent.jwk":   `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"/etc/athd/private.jwk": `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`,
		},
		Modes:     map[string]fs.FileMode{"/etc/athd/open.pem": 0o666},
		Variables: map[string]string{"HOST": "gateway.example.com", "ATHD_KEYSET": string(data)},
	}
}

// YAML puts an athd.yaml together: the least that is needed, with
// some keys replaced or, by "", left out. It panics at a key that it does not know.
func YAML(parts map[string]string) string {
	all := map[string]string{
		"public_url":     "https://gateway.example.com",
		"store":          "{url: embedded}",
		"providers_file": "providers.json",
		"approval":       "{default: review}",
	}
	maps.Copy(all, parts)
	var b strings.Builder
	for _, key := range []string{"public_url", "consent_url", "listen", "store", "providers_file", "apps", "strict_scopes", "operator", "admin", "agents", "approval",
		"tokens", "sessions", "consent", "limits", "drain_delay", "envoy", "egress", "cors", "log", "audit", "runtime", "development"} {
		if v := all[key]; v != "" {
			b.WriteString(key + ": " + v + "\n")
		}
		delete(all, key)
	}
	for key := range all {
		panic("configtest: where does " + key + " go in athd.yaml?")
	}
	return b.String()
}
