package tokenstore

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

const renewalKind kind = "renewal"

// renewalPrefix begins the entries of renewals among a connection's grants. It
// begins with that of holds, so that an athd that knows no renewals takes them for
// something that keeps the connection, and not for a token.
const renewalPrefix = holdPrefix + "renewal:"

// A Renewal is a standing consent (T-8): what a renewal token stands for. The
// token is not in it: the record's key is its digest. It does not rotate; each use
// needs the agent's own key.
type Renewal struct {
	Agent      string           `json:"agent"` // agent_id
	ClientID   string           `json:"client"`
	User       string           `json:"user"`
	Provider   string           `json:"p"`           // its own id
	ProviderAs string           `json:"as,omitzero"` // the name that the agent used (T-5)
	Scopes     ath.Scopes       `json:"scopes,omitempty"`
	Connection ath.Tag          `json:"conn"`
	Shared     bool             `json:"shared,omitzero"` // Connection is one that the user's agents share
	Epoch      string           `json:"epoch,omitzero"`  // of the connection, if it is shared
	Terms      ath.RenewalTerms `json:"terms"`           // as the user was shown them
	Issued     time.Time        `json:"at"`
	Used       time.Time        `json:"used"` // last, within a small part of Terms.Idle; at first Issued
	Revoked    time.Time        `json:"rev,omitzero"`
	Thumbprint string           `json:"jkt,omitzero"` // of the key that the token is bound to (RFC 7638); empty: of no key beside the agent's
	Generation int              `json:"gen,omitzero"` // of the agent when it was issued
}

// Ends is when the renewal can be used no longer, by its own terms and those that
// hold today: the shorter ones count. idle says that it is for want of use. The zero
// time: there is no standing consent today.
func (r *Renewal) Ends(today ath.RenewalTerms) (at time.Time, idle bool) {
	terms := r.Terms.Within(today)
	if terms.IsZero() {
		return time.Time{}, false
	}
	latest, unused := r.Issued.Add(terms.Max), r.Used.Add(terms.Idle)
	if unused.Before(latest) {
		return unused, true
	}
	return latest, false
}

// Ref names the connection that the renewal stands on.
func (r *Renewal) Ref() ConnectionRef {
	ref := ConnectionRef{Tag: r.Connection, Agent: r.Agent, User: r.User, Provider: r.Provider, Epoch: r.Epoch}
	if r.Shared {
		ref.Agent = ""
	}
	return ref
}

func encodeRenewal(r Renewal, x extra) ([]byte, error) {
	if r.Agent == "" {
		return nil, errors.New("a renewal names no agent")
	}
	r.Issued, r.Used, r.Revoked = r.Issued.UTC(), r.Used.UTC(), r.Revoked.UTC()
	return encode(stored[Renewal]{r, x})
}

func decodeRenewal(record []byte) (Renewal, extra, error) {
	r, x, err := decodeOne[Renewal](renewalKind, record)
	if err == nil && r.Agent == "" {
		// Without an agent it would name a shared connection.
		return Renewal{}, nil, fmt.Errorf("%w: the %s record names no agent", ErrCorrupt, renewalKind)
	}
	return r, x, err
}

func (s *Store) sealRenewal(key string, r Renewal, x extra) (string, error) {
	plain, err := encodeRenewal(r, x)
	if err != nil {
		return "", err
	}
	return s.keys.seal(renewalKind, key, plain)
}

func (s *Store) openRenewal(key, raw string) (Renewal, extra, error) {
	plain, err := s.open(renewalKind, key, raw)
	if err != nil {
		return Renewal{}, nil, err
	}
	return decodeRenewal(plain)
}

func renewalKey(tag ath.Tag, digest string) (string, error) {
	return key(tag, string(renewalKind), digest)
}

// renewalMember is the renewal's entry among the connection's grants.
func renewalMember(digest string) string { return renewalPrefix + digest }

// renewalOf is the digest of the renewal that an entry is of.
func renewalOf(member string) (digest string, is bool) {
	return strings.CutPrefix(member, renewalPrefix)
}

// renewalTTL is that of a renewal, by its own terms: what holds today may change
// again.
func (s *Store) renewalTTL(r *Renewal) int64 {
	until, _ := r.Ends(r.Terms)
	return s.ttl(until.Add(s.rememberEnded))
}
