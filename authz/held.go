package authz

import (
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/canary"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// Held is what an agent's call that was allowed holds as long as it goes on, without
// a secret: by it any replica can judge the call again ([Decider.Holds]). The zero
// Held holds nothing.
type Held struct {
	Tag      ath.Tag    // of token and connection
	Grant    ath.Digest // of the token
	Renewal  ath.Digest // of the standing consent that the token came with, or by; zero: none
	Agent    string     // agent_id
	Provider string     // the provider's own id
	Runtime  bool       // the route was that of run-time providers
	Scope    string     // that covers the request
	Until    time.Time  // the end of grant or approval, whichever comes first; in milliseconds
	// Credential tells one upstream token of the connection from the next: it is the
	// beginning of a digest, and worth nothing to whoever reads it.
	Credential ath.Fingerprint
	// Mark, with Credential, recognizes that token where an API's reply echoes it.
	Mark canary.Mark

	// Rules are those of the scope ([provider.Provider.RulesOf]) by which the call was
	// allowed: what others allow, of its head, nobody knows any more.
	Rules uint64
}

// Canary recognizes the upstream token that the call was forwarded with.
func (h *Held) Canary() canary.Canary { return canary.Canary{Mark: h.Mark, Print: h.Credential} }

// IsZero reports whether h holds nothing.
func (h *Held) IsZero() bool { return h.Grant.IsZero() }

// holds is what [Decision.Held] is made of, where somebody asks for it.
type holds struct {
	token    ath.Token
	grant    *tokenstore.Grant
	provider *provider.Provider
	runtime  bool
	until    time.Time
}

// Held returns what an allowed agent's call holds. Of every other decision it is the
// zero Held. It digests the token and the user's credential again: only whoever
// needs it calls it.
func (d *Decision) Held() Held {
	if !d.Allowed() || d.PassesThrough() || d.holds.grant == nil {
		return Held{}
	}
	h := &d.holds
	return Held{
		Tag: h.token.Tag(), Grant: h.token.Digest(), Renewal: h.grant.Renewal,
		Agent: h.grant.Agent, Provider: h.provider.ID, Runtime: h.runtime, Scope: d.Scope, Rules: h.provider.RulesOf(d.Scope),
		Until: h.until.Truncate(time.Millisecond), Credential: ath.FingerprintOf(d.credential), Mark: canary.MarkOf(d.credential),
	}
}
