package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/athd/athd/strict"
)

// A keeping says how well a file must be kept from other users of the machine.
// Whoever can write any file of the configuration can send users' tokens and
// codes to where they like, or let agents in.
type keeping int

const (
	keptOpen      keeping = iota // everybody may read it: nobody else may write it
	keptSecret                   // it should not be read by everybody, which is told
	keptKey                      // it must not be read by everybody: a key of TLS
	keptKeyset                   // 0640 at most
	keptByContent                // a file that says so by itself: athd.yaml and providers.json
)

// Permission bits of a file's mode.
const (
	writeByOthers fs.FileMode = 0o002
	readByOthers  fs.FileMode = 0o004
	anyByOthers   fs.FileMode = 0o007
	beyond0640    fs.FileMode = 0o037
)

// judge is the one place that looks at the mode of a file that was read.
func (k keeping) judge(mode fs.FileMode, data []byte) (fault, warning string) {
	forbidden, want := writeByOthers, fs.FileMode(0o644)
	switch k {
	case keptKey:
		forbidden, want = anyByOthers, 0o640
	case keptKeyset:
		forbidden, want = beyond0640, 0o640
	}
	holds := k != keptOpen && (k != keptByContent || holdsSecret(data))
	switch {
	case mode&forbidden == 0:
	case k == keptKey || k == keptKeyset:
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
	strict.YAML("", data, &v) // of which JSON is a part
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

// kept reads a file that athd.yaml names at path, by whatever name it is
// written there, and judges how it is kept.
func (l *loader) kept(name string, k keeping, path ...any) ([]byte, bool) {
	if l.doc.Faulty(path...) {
		return nil, false
	}
	data, mode, err := l.read(l.resolve(name))
	if err != nil {
		l.fail("cannot be read: "+err.Error(), path...)
		return nil, false
	}
	fault, warning := k.judge(mode, data)
	if fault != "" {
		l.fail(fault, path...)
		return nil, false
	}
	if warning != "" {
		l.warn("%s: %s", label(path), warning)
	}
	return data, true
}

// secretBeside reads a client_secret_file, relative to the file that names it.
func (l *loader) secretBeside(dir, path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	data, mode, err := l.read(path)
	if err != nil {
		return nil, err
	}
	fault, warning := keptSecret.judge(mode, data)
	if fault != "" {
		return nil, fmt.Errorf("%s", fault)
	}
	if warning != "" {
		l.warn("client_secret_file %s: %s", path, warning)
	}
	return data, nil
}
