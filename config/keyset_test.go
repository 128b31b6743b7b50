package config

import (
	"strings"
	"testing"

	"github.com/athd/athd/config/configtest"
)

// The keyset is read again as it was read at start, with the same checks, and
// nothing of it is quoted.
func TestAKeysetIsReadAgain(t *testing.T) {
	m := configtest.NewMachine(t)
	const at = "/etc/athd/keyset.json"
	text := configtest.YAML(map[string]string{"store": "{url: 'redis://127.0.0.1', keyset_file: keyset.json}"})
	s, faults := Parse("/etc/athd/athd.yaml", []byte(text), sources(m))
	if faults != nil || s.KeysetFile != at {
		t.Fatalf("the keyset is at %q; %v", s.KeysetFile, faults)
	}
	keys, data, err := ReadKeyset(s.KeysetFile, m.ReadFile)
	if err != nil || keys.Primary() != s.Store.Keyset.Primary() || string(data) != m.Files[at] {
		t.Fatalf("it is read as %v: %v", keys, err)
	}
	m.Modes[at] = 0o644
	if _, _, err := ReadKeyset(at, m.ReadFile); err == nil || !strings.Contains(err.Error(), "want 0640") {
		t.Errorf("everybody may read it: %v", err)
	}
	m.Modes[at], m.Files[at] = 0o600, `{"key": "secret-material`
	if keys, _, err := ReadKeyset(at, m.ReadFile); err == nil || keys != nil || strings.Contains(err.Error(), "secret-material") {
		t.Errorf("half of a file: %v", err)
	}
	delete(m.Files, at)
	if _, _, err := ReadKeyset(at, m.ReadFile); err == nil || !strings.HasPrefix(err.Error(), "cannot be read: ") {
		t.Errorf("it is gone: %v", err)
	}
	inline := configtest.YAML(map[string]string{"store": "{url: 'redis://127.0.0.1', keyset: '${ATHD_KEYSET}'}"})
	s, faults = Parse("/etc/athd/athd.yaml", []byte(inline), sources(configtest.NewMachine(t)))
	if faults != nil || s.KeysetFile != "" || s.Store.Keyset == nil {
		t.Errorf("from a variable: %v", faults)
	}
}
