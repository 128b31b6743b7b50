package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/athd/athd/strict"
)

// A filePolicy says how well a file must be protected from other users of the
// machine, by its mode.
// Whoever can write any file of the configuration can send users' tokens and
// codes to where they like, or let agents in.
type filePolicy int

const (
	publicFile     filePolicy = iota // everybody may read it: nobody else may write it
	secretFile                       // it should not be read by everybody, which is told
	privateKeyFile                   // it must not be read by everybody: a key of TLS
	keysetFile                       // 0640 at most
	configFile                       // a file that says so by itself: athd.yaml and providers.json
)

// Permission bits of a file's mode.
const (
	writeByOthers fs.FileMode = 0o002
	readByOthers  fs.FileMode = 0o004
	anyByOthers   fs.FileMode = 0o007
	beyond0640    fs.FileMode = 0o037
)

// checkMode is the one place that looks at the mode of a file that was read.
func (k filePolicy) checkMode(mode fs.FileMode, data []byte) (fault, warning string) {
	forbidden, want := writeByOthers, fs.FileMode(0o644)
	switch k {
	case privateKeyFile:
		forbidden, want = anyByOthers, 0o640
	case keysetFile:
		forbidden, want = beyond0640, 0o640
	}
	holds := k != publicFile && (k != configFile || holdsSecret(data))
	switch {
	case mode&forbidden == 0:
	case k == privateKeyFile || k == keysetFile:
		return fmt.Sprintf("the file holds a secret, but its mode is %#o: want %#o", mode, want), ""
	default:
		if holds {
			want = 0o640
		}
		return fmt.Sprintf("every user of this machine can write the file (mode %#o): want %#o", mode, want), ""
	}
	if holds && mode&readByOthers != 0 {
		return "", fmt.Sprintf("every user of this machine can read the secret in the file (mode %#o)", mode)
	}
	return "", ""
}

// holdsSecret reports whether a configuration holds a secret itself, and not
// the name of a variable or of a file.
func holdsSecret(data []byte) bool {
	var v any
	_, _ = strict.YAML("", data, &v) // of which JSON is a part; its faults are reported elsewhere
	return secretIn("", v)
}

func secretIn(key string, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if secretIn(key, value) {
				return true
			}
		}
	case []any:
		for _, value := range v {
			if secretIn(key, value) {
				return true
			}
		}
	case string:
		if v == "" || strings.Contains(v, "${") {
			return false
		}
		switch key {
		case "client_secret", "clientSecret", "sentinel_password":
			return true
		case "url": // store.url
			return strings.Contains(v, "@")
		}
	}
	return false
}

// readFile reads a file that athd.yaml names at path, whatever key names it,
// and checks its mode.
func (l *loader) readFile(name string, k filePolicy, path ...any) ([]byte, bool) {
	if l.Doc.Faulty(path...) {
		return nil, false
	}
	data, mode, err := l.ReadFile(l.resolve(name))
	if err != nil {
		l.Fail("cannot be read: "+err.Error(), path...)
		return nil, false
	}
	fault, warning := k.checkMode(mode, data)
	if fault != "" {
		l.Fail(fault, path...)
		return nil, false
	}
	if warning != "" {
		l.warn("%s: %s", strict.Label(path...), warning)
	}
	return data, true
}

// secretBeside reads a client_secret_file, relative to the file that names it.
func (l *loader) secretBeside(dir, path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	data, mode, err := l.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fault, warning := secretFile.checkMode(mode, data)
	if fault != "" {
		return nil, fmt.Errorf("%s", fault)
	}
	if warning != "" {
		l.warn("client_secret_file %s: %s", path, warning)
	}
	return data, nil
}
