package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/strict"
)

// Load reads a configuration and everything that it refers to. It returns
// settings, or every fault of all its files; never both.
func Load(path string, out Sources) (*Settings, strict.Faults) {
	data, mode, err := out.ReadFile(path)
	if err != nil {
		return nil, strict.Faults{{File: path, Message: "cannot be read: " + err.Error()}}
	}
	fault, warning := configFile.checkMode(mode, data)
	if fault != "" {
		return nil, strict.Faults{{File: path, Message: fault}}
	}
	s, faults := Parse(path, data, out)
	if s != nil && warning != "" {
		s.Warnings = append(s.Warnings, path+": "+warning)
	}
	return s, faults
}

// Parse is [Load] for an athd.yaml that has been read.
func Parse(path string, data []byte, out Sources) (*Settings, strict.Faults) {
	var raw, c yamlConfig
	doc, faults := strict.YAML(path, data, &raw)
	// What is decoded again holds the expanded values, and nothing of raw.
	faults = append(faults, doc.Expand(out.Env, &c)...)
	if len(faults) > 0 && reflect.ValueOf(c).IsZero() {
		return nil, faults.Sort() // not readable at all: the rest would be echoes
	}
	l := &loader{Checker: strict.Checker{Doc: doc}, Sources: out, dir: filepath.Dir(path), raw: &raw, c: &c, s: &Settings{Development: c.Development}}
	l.publicURL()
	l.consentURL()
	l.listen()
	l.store()
	l.callback()
	l.lives()
	l.providers()
	l.admin()
	l.agents()
	l.approval()
	l.operator()
	l.limits()
	l.draining()
	l.envoy()
	l.egress()
	l.cors()
	l.logging()
	l.audit()
	l.runtime()
	l.developmentOptions()
	if faults = append(faults, l.Faults...); len(faults) > 0 {
		return nil, faults.Sort()
	}
	return l.s, nil
}

// A loader turns a yamlConfig into settings, one part after the other, and collects
// the faults on its way.
type loader struct {
	Sources
	strict.Checker
	dir string      // of athd.yaml: relative paths start there
	raw *yamlConfig // before variables were replaced
	c   *yamlConfig
	s   *Settings
}

func (l *loader) warn(format string, args ...any) {
	l.s.Warnings = append(l.s.Warnings, fmt.Sprintf(format, args...))
}

// resolve returns where a path of athd.yaml leads: relative ones start at the
// file that names them.
func (l *loader) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.dir, path)
}

// readSecretFile reads a file that holds one secret on one line.
func (l *loader) readSecretFile(name string, path ...any) (ath.Secret, bool) {
	data, ok := l.readFile(name, secretFile, path...)
	if !ok {
		return ath.Secret{}, false
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if err := checkLine(text); err != nil {
		l.Fail(err.Error(), path...)
		return ath.Secret{}, false
	}
	return ath.NewSecret(text), true
}

func checkLine(text string) error {
	switch {
	case text == "":
		return errors.New("is empty")
	case len(text) > 4096 || !ath.IsVisible(text):
		return errors.New("want one line of at most 4096 characters of visible ASCII")
	}
	return nil
}
