package oauthserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/luikyv/go-oidc/pkg/goidc"
)

// kept is what outlives a restart, where there is a file for it. A login that
// is under way does not: people begin again.
type kept struct {
	Grants  map[string]goidc.Grant `json:"grants"`
	Tokens  map[string]goidc.Token `json:"tokens"`
	Codes   map[string]string      `json:"codes"`   // authorization code → grant
	Refresh map[string]string      `json:"refresh"` // refresh token, of now or of earlier → grant
}

// openStore returns a store with what the file holds. A file that is not there
// yet is an empty one; one that cannot be read is an error, since to go on
// would overwrite it.
func openStore(file string) (*store, error) {
	s := &store{
		alone:    map[string]bool{},
		sessions: map[string]goidc.AuthnSession{},
		kept: kept{
			Grants: map[string]goidc.Grant{}, Tokens: map[string]goidc.Token{},
			Codes: map[string]string{}, Refresh: map[string]string{},
		},
		file: file,
	}
	if file == "" {
		return s, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, s.save()
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &s.kept); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// save writes what is kept, by one rename. The caller holds the lock, or is
// the only one who knows the store.
func (s *store) save() error {
	if s.file == "" {
		return nil
	}
	text, err := json.Marshal(s.kept)
	if err != nil {
		return err
	}
	fresh := filepath.Join(filepath.Dir(s.file), "."+filepath.Base(s.file)+".new")
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, s.file)
}
