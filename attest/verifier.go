package attest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
)

// Config configures a [Verifier].
type Config struct {
	// Once records that an agent has used a value and reports whether it is
	// the first time on any replica. What is recorded stays for ttl at least.
	// Required.
	Once func(ctx context.Context, agent ath.AgentID, what, value string, ttl time.Duration) (first bool, err error)

	// Turn runs a piece of work of bounded size when there is a processor for
	// it, or says why not: what it does is asked for by strangers. nil: at once.
	Turn func(ctx context.Context, piece func()) error

	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: none

	// Pinned are the agents whose keys the operator names.
	Pinned []Pinned

	// Development only; each relaxes one rule.
	AllowHTTP         bool // agent_id may be an http URL
	AllowPrivateHosts bool // documents may come from loopback and private addresses
	SkipVerification  bool // neither document nor signature is looked at

	// InsecureTestingOnlyRootCAs replaces the system's certificates.
	InsecureTestingOnlyRootCAs *x509.CertPool
}

// A Verifier verifies attestations. It is safe for use by several goroutines.
type Verifier struct {
	once      func(ctx context.Context, agent ath.AgentID, what, value string, ttl time.Duration) (bool, error)
	now       func() time.Time
	log       *slog.Logger
	turn      func(ctx context.Context, piece func()) error
	skip      bool
	documents *documents
	pinned    map[string]*document // by agent id
}

// New returns a verifier.
func New(c Config) (*Verifier, error) {
	if c.Once == nil {
		return nil, errors.New("attest: Once is required: without it attestations could be replayed")
	}
	if c.Turn == nil {
		c.Turn = func(_ context.Context, piece func()) error { piece(); return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SkipVerification {
		c.Logger.Warn("attestations are NOT verified: whoever knows an agent's id can act as that agent (skip_attestation_verification)")
	}
	pinned, err := pin(c.Pinned)
	if err != nil {
		return nil, err
	}
	return &Verifier{once: c.Once, turn: c.Turn, now: c.Now, log: c.Logger, skip: c.SkipVerification, documents: newDocuments(c), pinned: pinned}, nil
}

// With returns a verifier by which other agents are pinned, and which shares all
// that v has learned of the rest.
func (v *Verifier) With(all []Pinned) (*Verifier, error) {
	pinned, err := pin(all)
	if err != nil {
		return nil, err
	}
	other := *v
	other.pinned = pinned
	return &other, nil
}

// UnreachableFor is how long the failure of an unreachable host is remembered,
// and so when it makes sense to try again.
const UnreachableFor = 2 * time.Second

// Expect is what an attestation must say.
type Expect struct {
	Agent     ath.AgentID // from the request (register) or the stored registration
	Audiences []string    // aud must be, or hold, one of these
}

// An Identity is what an agent's identity document says of it. Under
// SkipVerification it is empty.
type Identity struct {
	Name      string
	Developer Developer
}

// A Developer is who made an agent, as the agent claims.
type Developer struct {
	Name string
	ID   string
}

// Verify checks an attestation in compact form and spends its jti. A refusal
// is an [*Error]; an error of Once comes back wrapped, as what it is.
func (v *Verifier) Verify(ctx context.Context, compact string, want Expect) (*Identity, error) {
	if want.Agent.IsZero() {
		return nil, errors.New("attest: no agent to verify an attestation of")
	}
	var a *attestation
	var err error
	if e := v.turn(ctx, func() {
		if a, err = parse(compact); err == nil {
			err = a.check(v.now(), want)
		}
	}); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	identity := &Identity{}
	if !v.skip {
		if identity, err = v.authenticate(ctx, a, want.Agent); err != nil {
			return nil, err
		}
	}
	if a.subject != want.Agent.String() {
		return nil, refuse(Subject, "sub is another agent")
	}
	first, err := v.once(ctx, want.Agent, "jti", a.id, a.acceptableFor(v.now()))
	if err != nil {
		return nil, fmt.Errorf("recording the attestation's jti: %w", err)
	}
	if !first {
		return nil, refuse(Replay, "the jti was used before")
	}
	return identity, nil
}

// authenticate checks the signature with the key that the agent publishes. An
// agent may have changed its key a moment ago, so that a mismatch is looked
// at again past the cache; whoever sends forged attestations must not make us
// fetch more than once a minute.
func (v *Verifier) authenticate(ctx context.Context, a *attestation, agent ath.AgentID) (*Identity, error) {
	if doc := v.pinned[agent.String()]; doc != nil { // nothing is fetched
		if ok, err := v.verifies(ctx, doc, a); err != nil {
			return nil, err
		} else if !ok {
			return nil, refuse(Signature, "the signature does not match the pinned key")
		}
		return doc.identity(), nil
	}
	doc, cached, err := v.documents.get(ctx, agent)
	if err != nil {
		if isUnreachable(err) {
			return nil, &Error{Reason: Unreachable, message: "the identity document cannot be read now", cause: err}
		}
		return nil, &Error{Reason: Document, message: "no identity document", cause: err}
	}
	if ok, err := v.verifies(ctx, doc, a); err != nil {
		return nil, err
	} else if ok {
		return doc.identity(), nil
	}
	mismatch := refuse(Signature, "the signature does not match the published key")
	if !cached {
		return nil, mismatch
	}
	first, err := v.once(ctx, agent, "refetch", "document", time.Minute)
	if err != nil {
		return nil, fmt.Errorf("recording a fetch past the cache: %w", err)
	}
	if !first {
		return nil, mismatch
	}
	doc, err = v.documents.fetch(ctx, agent)
	if err != nil {
		v.log.InfoContext(ctx, "identity document not fetched again", "agent_id", agent.String(), "error", err)
		return nil, mismatch
	}
	if ok, err := v.verifies(ctx, doc, a); err != nil {
		return nil, err
	} else if !ok {
		return nil, mismatch
	}
	return doc.identity(), nil
}

func (v *Verifier) verifies(ctx context.Context, d *document, a *attestation) (ok bool, err error) {
	err = v.turn(ctx, func() { ok = d.verifies(a) })
	return ok && err == nil, err
}

// verifies reports whether the attestation is signed with the document's key.
func (d *document) verifies(a *attestation) bool {
	return jwt.SigningMethodES256.Verify(a.signed, a.signature, d.key) == nil
}
