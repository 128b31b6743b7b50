package tokenstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// healingKind is sealed, and stored nowhere: it is what a link holds.
const healingKind kind = "healing"

const (
	// HealingTTL is how long a link is good for (P-10).
	HealingTTL = 10 * time.Minute
	// MaxHealingBytes bounds a handle, in characters: an agent id has 2,048 at most.
	MaxHealingBytes = 4096
)

// ErrHealingTooLong says that agent, user and provider have such long names that
// there is no handle for them.
var ErrHealingTooLong = errors.New("store: the handle of a healing would be too long")

// A Healing says which connection a user may give new tokens (P-10), in place of
// those that the provider has ended, and for whom. Nothing of it is stored: it
// travels, sealed, in a link, and whoever holds that can open the page and no more.
type Healing struct {
	Agent      string  `json:"agent"`
	ClientID   string  `json:"client"` // of the registration; another one has other connections
	Generation int     `json:"gen,omitzero"`
	User       string  `json:"user"` // who alone can do it
	Provider   string  `json:"p"`
	Connection ath.Tag `json:"conn"`
	Shared     bool    `json:"shared,omitzero"`
	Epoch      string  `json:"epoch,omitzero"` // of a shared connection

	Until time.Time `json:"until"` // zero: it is over

	key ath.Secret // what is derived from it, agents cannot know, who know the link
}

type sealedHealing struct {
	Healing
	Key string `json:"key"`
}

// NewHealing returns a healing for the user of a grant, until [HealingTTL] from
// now. generation is the agent's.
func NewHealing(g *Grant, generation int, now time.Time) Healing {
	return Healing{
		Agent: g.Agent, ClientID: g.ClientID, Generation: generation, User: g.User, Provider: g.Provider,
		Connection: g.Connection, Shared: g.Shared, Epoch: g.Epoch, Until: now.Add(HealingTTL).UTC(), key: ath.NewKey(),
	}
}

// NotHealed says why users cannot heal the connection of a grant, by what is
// configured now; "": the one who allowed it can. A connection that a user, an agent or
// an operator has ended is not there; one that is there has been ended by the
// provider alone, if its tokens are not good any more.
func (g *Grant) NotHealed(c *Connection, p *provider.Provider) string {
	switch {
	case c == nil:
		return "the connection has ended"
	case !p.Ready() || !p.Agreed(c.Destination, c.Bound):
		return "the user agreed to another token, userinfo or revocation endpoint, client or API host" // O-2
	case g.User == string(g.Connection), !p.ProvesUser(p.Asked(g.Scopes, g.Shared)):
		return "the provider does not say who the user is" // T-7
	case g.Shared != p.SharesGrants():
		return "grants was changed since the user agreed"
	}
	return ""
}

// Ref names the connection.
func (h *Healing) Ref() ConnectionRef {
	r := ConnectionRef{Tag: h.Connection, Agent: h.Agent, User: h.User, Provider: h.Provider}
	if h.Shared {
		r.Agent, r.Epoch = "", h.Epoch
	}
	return r
}

// Derive returns 256 bits in base64url, for one purpose, that follow from the
// link and that nobody can compute who holds it.
func (h *Healing) Derive(purpose string) string {
	m := hmac.New(sha256.New, []byte(h.key.Reveal()))
	m.Write([]byte(purpose))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// SessionTag is that of the session which the link leads to: each link to one, on
// every replica.
func (h *Healing) SessionTag() ath.Tag { return ath.Tag(h.Derive("tag")[:len(h.Connection)]) }

// SealHealing returns the handle of a healing, for links on one origin. It opens
// there alone, with [Store.OpenHealing] of any replica, and counts as no record.
func (s *Store) SealHealing(origin string, h Healing) (string, error) {
	if h.key.IsZero() || h.Agent == "" || h.ClientID == "" || h.User == "" || h.Provider == "" {
		return "", errors.New("store: a healing is of an agent, a user and a provider")
	}
	plain, err := json.Marshal(sealedHealing{h, h.key.Reveal()})
	if err != nil {
		return "", err
	}
	if base64.RawURLEncoding.EncodedLen(len(plain)+sealBytes) > MaxHealingBytes {
		return "", ErrHealingTooLong
	}
	sealed, err := s.keys.seal(healingKind, origin, plain)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString([]byte(sealed)), nil
}

// OpenHealing is the reverse. ErrCorrupt: the handle was not made here, not for
// this origin, or was changed. Whether it is over is the caller's to see.
func (s *Store) OpenHealing(origin, handle string) (Healing, error) {
	none := fmt.Errorf("%w: not a handle of a healing", ErrCorrupt)
	if handle == "" || len(handle) > MaxHealingBytes {
		return Healing{}, none
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil || len(sealed) == 0 {
		return Healing{}, none
	}
	// Not s.open: what strangers send is no record that does not open.
	plain, err := s.keys.open(healingKind, origin, string(sealed))
	if err != nil {
		return Healing{}, none
	}
	in, err := decode[sealedHealing](healingKind, plain)
	if err != nil {
		return Healing{}, none
	}
	h := in.Healing
	h.key = ath.NewSecret(in.Key)
	if _, err := key(h.Connection); err != nil || in.Key == "" || h.Agent == "" || h.User == "" {
		return Healing{}, none
	}
	return h, nil
}
