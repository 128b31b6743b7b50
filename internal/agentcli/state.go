package agentcli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/remote"
)

const stateVersion = 1

// A savedState is what the state file holds: all that an agent has. Its
// secrets are whole there, and nowhere else.
type savedState struct {
	Version int                     `json:"version"`
	Agent   savedIdentity           `json:"agent"`
	Servers map[string]*serverState `json:"servers"` // by base URL
}

// A savedIdentity is who the agent is, with the key that proves it.
type savedIdentity struct {
	ID          string        `json:"agent_id"`
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Developer   api.Developer `json:"developer"`
	PrivateKey  api.Secret    `json:"private_key"` // PKCS #8 PEM
}

// A serverState is what the agent has at one server.
type serverState struct {
	ClientID     string               `json:"client_id,omitempty"`
	ClientSecret api.Secret           `json:"client_secret,omitzero"`
	Sessions     []openSession        `json:"sessions,omitempty"` // in flight, oldest first
	Tokens       map[string]heldToken `json:"tokens,omitempty"`   // by provider
}

// An openSession is an authorization that has not become a token yet.
type openSession struct {
	ID       api.Secret `json:"ath_session_id"`
	State    api.Secret `json:"state"`
	Provider string     `json:"provider_id"`
	Scopes   []string   `json:"scopes"`
	Redirect string     `json:"redirect_uri"`
	API      string     `json:"api"` // where calls with its token go
	Code     api.Secret `json:"code,omitzero"`
	Expires  time.Time  `json:"expires"`
}

// A heldToken is an ATH token and what it is good for.
type heldToken struct {
	Access  api.Secret `json:"access_token"`
	Scopes  []string   `json:"scopes"`
	API     string     `json:"api"`
	Expires time.Time  `json:"expires"`
	Revoked bool       `json:"revoked,omitempty"`
	// Renewal gets further ones without the user (T-8); an older state has none.
	Renewal        api.Secret `json:"refresh_token,omitzero"`
	RenewalExpires time.Time  `json:"refresh_expires,omitzero"`
}

// heldOf is a token as the state keeps it. base is where its calls go.
func heldOf(t *client.Token, base string) heldToken {
	held := heldToken{
		Access: api.OpenSecret(t.Access), Scopes: t.Scopes, API: base, Expires: t.Expires.UTC().Truncate(time.Second),
		Renewal: api.OpenSecret(t.Renewal),
	}
	if !t.RenewalExpires.IsZero() {
		held.RenewalExpires = t.RenewalExpires.UTC().Truncate(time.Second)
	}
	return held
}

// of is the token as package client has it. provider is its key in the state.
func (t *heldToken) of(provider string) client.Token {
	return client.Token{
		Access: t.Access.Secret, Provider: provider, Scopes: t.Scopes, Expires: t.Expires,
		Renewal: t.Renewal.Secret, RenewalExpires: t.RenewalExpires,
	}
}

// load makes the agent that can sign.
func (i *savedIdentity) load() (*client.Identity, error) {
	key, err := client.DecodeKey(i.PrivateKey.Secret)
	if err != nil {
		return nil, err
	}
	a, err := client.NewIdentity(i.ID, i.Name, key)
	if err != nil {
		return nil, err
	}
	a.Developer, a.Description = i.Developer, i.Description
	return a, nil
}

// prune drops sessions that nobody can finish any more.
func (s *serverState) prune(now time.Time) {
	s.Sessions = slices.DeleteFunc(s.Sessions, func(f openSession) bool { return !now.Before(f.Expires) })
}

// drop takes a session away that has become a token, or never will.
func (s *serverState) drop(id api.Secret) {
	s.Sessions = slices.DeleteFunc(s.Sessions, func(f openSession) bool { return f.ID.Equal(id.Reveal()) })
}

// hold keeps a token in the place of the provider's last one.
func (s *serverState) hold(provider string, t heldToken) {
	if s.Tokens == nil {
		s.Tokens = map[string]heldToken{}
	}
	s.Tokens[provider] = t
}

func decodeState(text []byte) (*savedState, error) {
	var version struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(text, &version); err != nil || version.Version == nil {
		return nil, errors.New("it is not a state of athctl try")
	}
	if *version.Version != stateVersion {
		return nil, fmt.Errorf("it has version %d, and this athctl knows version %d", *version.Version, stateVersion)
	}
	var s savedState
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("it is not as athctl try writes it: %w", plainJSON(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something stands behind the state")
	}
	return &s, s.check()
}

// plainJSON keeps values out of an error of encoding/json: one may be secret.
func plainJSON(err error) error {
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%s has the wrong type", wrong.Field)
	}
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return fmt.Errorf("unknown field %s", cli.Printable(name, 60))
	}
	return errors.New("not JSON")
}

// check holds what the rest relies on.
func (s *savedState) check() error {
	if _, err := ath.ParseAgentID(s.Agent.ID, true); err != nil {
		return err
	}
	if _, err := s.Agent.load(); err != nil {
		return err
	}
	if s.Servers == nil {
		s.Servers = map[string]*serverState{}
	}
	for base, known := range s.Servers {
		if clean, err := remote.Base(base, true, ""); err != nil || clean != base {
			return fmt.Errorf("%q is not the URL of a server", cli.Printable(base, 100))
		}
		if known == nil || known.ClientID == "" != known.ClientSecret.IsZero() {
			return fmt.Errorf("what it says of %s is not whole", base)
		}
		for _, f := range known.Sessions {
			if f.ID.IsZero() || f.State.IsZero() || f.Provider == "" || checkAPI(f.API, true) != nil {
				return fmt.Errorf("a session at %s is not whole", base)
			}
		}
		for name, t := range known.Tokens {
			if name == "" || t.Access.IsZero() || checkAPI(t.API, true) != nil {
				return fmt.Errorf("a token of %s is not whole", base)
			}
		}
	}
	return nil
}

// checkAPI wants a URL to which an ATH token may be sent.
func checkAPI(api string, allowHTTP bool) error {
	u, err := url.Parse(api)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("it is not a URL")
	case u.Scheme == "https", u.Scheme == "http" && (allowHTTP || ath.IsLoopbackHost(u.Hostname())):
		return nil
	}
	return errors.New("it is not https; --allow-http if you know that way")
}
