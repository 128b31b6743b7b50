package tokenstore

import (
	"slices"
	"time"

	"github.com/athd/athd/ath"
)

// A Standing is an agent's approval status, by policy or operator.
type Standing string

// The standings. Anything else, the empty string included, counts as denied.
const (
	Approved  Standing = "approved"
	Pending   Standing = "pending"
	Denied    Standing = "denied"
	Suspended Standing = "suspended"
)

// An Agent is one registration: one record, one slot, one atomic write.
type Agent struct {
	ID              string     `json:"id"` // the agent_id, byte for byte
	ClientID        string     `json:"client"`
	SecretDigest    ath.Digest `json:"secret,omitzero"`
	Name            string     `json:"name,omitzero"` // from the verified identity document
	Developer       Developer  `json:"dev,omitzero"`
	Purpose         string     `json:"purpose,omitzero"`
	RedirectURIs    []string   `json:"redirects,omitempty"`
	Approvals       []Approval `json:"approvals,omitempty"` // one per provider asked for, in the order asked
	ApprovalExpires time.Time  `json:"until,omitzero"`      // past it nothing new is authorized
	Suspended       bool       `json:"suspended,omitzero"`  // by the operator
	Generation      int        `json:"gen,omitzero"`        // counts suspensions, and registrations after an approval ended: a grant or renewal of an earlier generation stays dead (R-6, T-8)
	Registered      time.Time  `json:"at,omitzero"`
}

// A Developer is who is responsible for an agent.
type Developer struct {
	Name    string `json:"name,omitzero"`
	ID      string `json:"id,omitzero"`
	Contact string `json:"contact,omitzero"`
}

// An Approval is what policy and operator decided about one provider.
type Approval struct {
	Provider       string     `json:"p"`
	Approved       ath.Scopes `json:"yes,omitempty"`
	Pending        ath.Scopes `json:"wait,omitempty"`
	Denied         ath.Scopes `json:"no,omitempty"`
	DenialReason   string     `json:"why,omitzero"`
	OperatorDenied ath.Scopes `json:"bar,omitempty"` // of the denied, what an operator denied: no policy approves it later
}

// Standing summarizes the approvals: approved if any scope is, else pending
// if any is under review, else denied; suspended overrides all.
func (a *Agent) Standing() Standing {
	standing := Denied
	for _, p := range a.Approvals {
		switch {
		case len(p.Approved) > 0:
			standing = Approved
		case len(p.Pending) > 0 && standing != Approved:
			standing = Pending
		}
	}
	if a.Suspended {
		return Suspended
	}
	return standing
}

// Approval returns what was decided about a provider, or nil. The record may be
// older than the provider's present name: then the first of the aliases that it
// holds counts.
func (a *Agent) Approval(provider string, aliases ...string) *Approval {
	for i := range a.Approvals {
		if a.Approvals[i].Provider == provider {
			return &a.Approvals[i]
		}
	}
	for _, name := range aliases {
		if found := a.Approval(name); found != nil {
			return found
		}
	}
	return nil
}

// HasOperatorDenial reports whether an operator denied the agent anything.
func (a *Agent) HasOperatorDenial() bool {
	return slices.ContainsFunc(a.Approvals, func(p Approval) bool { return len(p.OperatorDenied) > 0 })
}

// A Phase is the state of a session. It moves in one direction only, by
// compare-and-swap.
type Phase string

// The phases of a session. The empty phase is none of them.
const (
	Started   Phase = "started"   // authorize answered; the browser may come
	Redeeming Phase = "redeeming" // a callback was accepted; its code is being redeemed
	Consented Phase = "consented" // the user's tokens are stored; the one-time code is out
	Refused   Phase = "refused"   // the user said no (C-5)
	Failed    Phase = "failed"    // the provider did
	Consumed  Phase = "consumed"  // a token was handed out, or too many codes were guessed
)

// Ends reports whether the phase is final.
func (p Phase) Ends() bool { return p == Refused || p == Failed || p == Consumed }

// A Session is one authorization, from authorize to token (Z-4).
type Session struct {
	ID    ath.Secret `json:"-"`              // ath_session_id, which the agent's redirect repeats (C-6)
	State ath.Digest `json:"state,omitzero"` // of our state towards the provider

	AgentID    string     `json:"agent"`
	ClientID   string     `json:"client"`
	Provider   string     `json:"p"`           // its own id
	ProviderAs string     `json:"as,omitzero"` // the name that the agent used (T-5)
	Requested  ath.Scopes `json:"want,omitempty"`

	AgentState  string     `json:"back,omitzero"`     // the agent's state, returned to it
	RedirectURI string     `json:"redirect,omitzero"` // "": show the completion page
	CallbackURL string     `json:"callback,omitzero"` // the redirect_uri that the provider was given
	Resource    string     `json:"resource,omitzero"`
	Verifier    ath.Secret `json:"-"`                // PKCE, never leaves
	BrowserKey  ath.Secret `json:"-"`                // keys the cookie that binds the browser (Z-3)
	Consent     string     `json:"consent,omitzero"` // page, redirect or direct, as it was at authorize

	// Destination and Bound are the provider's at authorize: what the user is asked to
	// agree to (O-2). They are in x, and "" in sessions of 058ce80 and before.
	Destination string `json:"-"`
	Bound       string `json:"-"`

	Phase      Phase      `json:"phase"`
	User       string     `json:"user,omitzero"`
	Consented  ath.Scopes `json:"got,omitempty"`
	Connection ath.Tag    `json:"conn,omitzero"`
	Shared     bool       `json:"shared,omitzero"` // the connection is to be one that the user's agents share, as it was at authorize
	Epoch      string     `json:"epoch,omitzero"`  // of the connection, if it is shared
	Code       ath.Digest `json:"code,omitzero"`   // of the one-time code (C-6)
	BadCodes   int        `json:"bad,omitzero"`    // wrong guesses of it; five end the session (T-1)
	Upstream   string     `json:"said,omitzero"`   // why the provider's server ended it: its error code, or a text of athd's

	// Shown is what our page said of a standing consent (T-8) to those who allowed it,
	// by their browsers. Renewal is what it said to the one whose browser came back from
	// the provider; zero: nothing, or there was no page.
	Shown   map[string]ath.RenewalTerms `json:"shown,omitempty"`
	Renewal ath.RenewalTerms            `json:"renewal,omitzero"`

	// Heals: the session ends in new tokens of Connection, which is there, and in no
	// token of ours (P-10). User is who must allow it. Generation is the agent's.
	Heals      bool `json:"heals,omitzero"`
	Generation int  `json:"gen,omitzero"`

	Created time.Time `json:"at,omitzero"`
	Expires time.Time `json:"exp,omitzero"`
}

// A Grant is what an ATH token stands for (T-3). The token itself is not in
// it: the record's key is its digest.
type Grant struct {
	Agent      string     `json:"agent"` // agent_id
	ClientID   string     `json:"client"`
	User       string     `json:"user"`
	Provider   string     `json:"p"`
	Scopes     ath.Scopes `json:"scopes,omitempty"`
	Connection ath.Tag    `json:"conn"`
	Shared     bool       `json:"shared,omitzero"` // Connection is one that the user's agents share
	Epoch      string     `json:"epoch,omitzero"`  // of the connection, if it is shared: in another one the grant opens nothing
	Issued     time.Time  `json:"at,omitzero"`
	Expires    time.Time  `json:"exp,omitzero"`
	Revoked    time.Time  `json:"rev,omitzero"`     // zero: live. A revoked grant stays as a tombstone for a day (P-1)
	Thumbprint string     `json:"jkt,omitzero"`     // of the key that the token is bound to (RFC 7638); empty: a bearer token
	Generation int        `json:"gen,omitzero"`     // of the agent when the grant was issued
	ProviderAs string     `json:"-"`                // the name that the agent used (T-5), where it is not Provider; is in x
	Renewal    ath.Digest `json:"renewal,omitzero"` // of the renewal token that the grant came with, or by: who revokes the one ends the other
}

// A Connection is one agent's OAuth grant for one user at one provider; or, where
// the provider keeps one grant per user, that of all of the user's agents there.
type Connection struct {
	Agent    string `json:"agent"` // "": the user's agents share it
	User     string `json:"user"`
	Provider string `json:"p"`

	Access  ath.Secret `json:"-"`
	Refresh ath.Secret `json:"-"`            // empty: the provider gave none
	Expires time.Time  `json:"exp,omitzero"` // of the access token; zero: not known, which is normal
	Scopes  ath.Scopes `json:"scopes,omitempty"`
	Created time.Time  `json:"at,omitzero"`
	Ended   bool       `json:"ended,omitzero"` // the provider no longer accepts it: reauthorization_required (P-6)

	// Epoch is that of a shared connection, whose tag comes again after its end: what
	// was issued before that is of another epoch. It is random.
	Epoch string `json:"epoch,omitzero"`

	// Destination is where the user agreed that the token goes: the provider's
	// Destination at the time (O-2).
	Destination string `json:"dest,omitzero"`

	// Bound is the provider's Bound at the time: what else gets the token (O-2). It
	// stands in x. "": the connection was made by an athd that did not write it.
	Bound string `json:"-"`

	// RefreshStatus is what is known of the token's refresh.
	RefreshStatus RefreshStatus `json:"-"`
}
