package tokenstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/athd/athd/ath"
)

// The JSON inside of a sealed record. These structs are the storage format:
// whoever changes one so that older code would read it wrongly raises version.
// Nothing else marshals a record, and only here a stored ath.Secret is opened.

type agentJSON struct {
	ID              string         `json:"id"`
	ClientID        string         `json:"client"`
	SecretDigest    ath.Digest     `json:"secret,omitzero"`
	Name            string         `json:"name,omitempty"`
	Developer       developerJSON  `json:"dev,omitzero"`
	Purpose         string         `json:"purpose,omitempty"`
	RedirectURIs    []string       `json:"redirects,omitempty"`
	Approvals       []approvalJSON `json:"approvals,omitempty"`
	ApprovalExpires time.Time      `json:"until,omitzero"`
	Suspended       bool           `json:"suspended,omitempty"`
	Generation      int            `json:"gen,omitempty"`
	Registered      time.Time      `json:"at,omitzero"`
}

type developerJSON struct {
	Name    string `json:"name,omitempty"`
	ID      string `json:"id,omitempty"`
	Contact string `json:"contact,omitempty"`
}

type approvalJSON struct {
	Provider       string     `json:"p"`
	Approved       ath.Scopes `json:"yes,omitempty"`
	Pending        ath.Scopes `json:"wait,omitempty"`
	Denied         ath.Scopes `json:"no,omitempty"`
	DenialReason   string     `json:"why,omitempty"`
	OperatorDenied ath.Scopes `json:"bar,omitempty"`
}

type sessionJSON struct {
	ID          string     `json:"id,omitempty"`
	State       ath.Digest `json:"state,omitzero"`
	AgentID     string     `json:"agent"`
	ClientID    string     `json:"client"`
	Provider    string     `json:"p"`
	ProviderAs  string     `json:"as,omitempty"`
	Requested   ath.Scopes `json:"want,omitempty"`
	AgentState  string     `json:"back,omitempty"`
	RedirectURI string     `json:"redirect,omitempty"`
	CallbackURL string     `json:"callback,omitempty"`
	Resource    string     `json:"resource,omitempty"`
	Verifier    string     `json:"ver,omitempty"`
	BrowserKey  string     `json:"browser,omitempty"`
	Consent     string     `json:"consent,omitempty"`
	Phase       Phase      `json:"phase"`
	User        string     `json:"user,omitempty"`
	Consented   ath.Scopes `json:"got,omitempty"`
	Connection  ath.Tag    `json:"conn,omitempty"`
	Code        ath.Digest `json:"code,omitzero"`
	BadCodes    int        `json:"bad,omitempty"`
	Upstream    string     `json:"said,omitempty"`
	Created     time.Time  `json:"at,omitzero"`
	Expires     time.Time  `json:"exp,omitzero"`
}

type grantJSON struct {
	Agent      string     `json:"agent"`
	ClientID   string     `json:"client"`
	User       string     `json:"user"`
	Provider   string     `json:"p"`
	Scopes     ath.Scopes `json:"scopes,omitempty"`
	Connection ath.Tag    `json:"conn"`
	Issued     time.Time  `json:"at,omitzero"`
	Expires    time.Time  `json:"exp,omitzero"`
	Revoked    time.Time  `json:"rev,omitzero"`
	Thumbprint string     `json:"jkt,omitempty"`
	Generation int        `json:"gen,omitempty"`
}

type connectionJSON struct {
	Agent    string     `json:"agent"`
	User     string     `json:"user"`
	Provider string     `json:"p"`
	Access   string     `json:"tok,omitempty"`
	Refresh  string     `json:"ref,omitempty"`
	Expires  time.Time  `json:"exp,omitzero"`
	Scopes   ath.Scopes `json:"scopes,omitempty"`
	Created  time.Time  `json:"at,omitzero"`
	Ended    bool       `json:"ended,omitempty"`
	Dest     string     `json:"dest,omitempty"`
}

func encodeAgent(a Agent) ([]byte, error) {
	out := agentJSON{
		ID: a.ID, ClientID: a.ClientID, SecretDigest: a.SecretDigest,
		Name: a.Name, Developer: developerJSON(a.Developer), Purpose: a.Purpose,
		RedirectURIs:    a.RedirectURIs,
		ApprovalExpires: a.ApprovalExpires.UTC(), Suspended: a.Suspended, Generation: a.Generation, Registered: a.Registered.UTC(),
	}
	for _, p := range a.Approvals {
		out.Approvals = append(out.Approvals, approvalJSON(p))
	}
	return json.Marshal(out)
}

func decodeAgent(record []byte) (Agent, error) {
	in, err := decode(agentKind, record, (*agentJSON).members)
	if err != nil {
		return Agent{}, err
	}
	a := Agent{
		ID: in.ID, ClientID: in.ClientID, SecretDigest: in.SecretDigest,
		Name: in.Name, Developer: Developer(in.Developer), Purpose: in.Purpose,
		RedirectURIs:    in.RedirectURIs,
		ApprovalExpires: in.ApprovalExpires, Suspended: in.Suspended, Generation: in.Generation, Registered: in.Registered,
	}
	for _, p := range in.Approvals {
		a.Approvals = append(a.Approvals, Approval(p))
	}
	return a, nil
}

func encodeSession(s Session) ([]byte, error) {
	return json.Marshal(sessionJSON{
		ID: s.ID.Reveal(), State: s.State,
		AgentID: s.AgentID, ClientID: s.ClientID, Provider: s.Provider, ProviderAs: s.ProviderAs, Requested: s.Requested,
		AgentState: s.AgentState, RedirectURI: s.RedirectURI, CallbackURL: s.CallbackURL, Resource: s.Resource,
		Verifier: s.Verifier.Reveal(), BrowserKey: s.BrowserKey.Reveal(), Consent: s.Consent,
		Phase: s.Phase, User: s.User, Consented: s.Consented, Connection: s.Connection, Code: s.Code, BadCodes: s.BadCodes, Upstream: s.Upstream,
		Created: s.Created.UTC(), Expires: s.Expires.UTC(),
	})
}

func decodeSession(record []byte) (Session, error) {
	in, err := decodeStrictly[sessionJSON](sessionKind, record)
	if err != nil {
		return Session{}, err
	}
	return Session{
		ID: ath.NewSecret(in.ID), State: in.State,
		AgentID: in.AgentID, ClientID: in.ClientID, Provider: in.Provider, ProviderAs: in.ProviderAs, Requested: in.Requested,
		AgentState: in.AgentState, RedirectURI: in.RedirectURI, CallbackURL: in.CallbackURL, Resource: in.Resource,
		Verifier: ath.NewSecret(in.Verifier), BrowserKey: ath.NewSecret(in.BrowserKey), Consent: in.Consent,
		Phase: in.Phase, User: in.User, Consented: in.Consented, Connection: in.Connection, Code: in.Code, BadCodes: in.BadCodes, Upstream: in.Upstream,
		Created: in.Created, Expires: in.Expires,
	}, nil
}

func encodeGrant(g Grant) ([]byte, error) {
	out := grantJSON(g)
	out.Issued, out.Expires, out.Revoked = g.Issued.UTC(), g.Expires.UTC(), g.Revoked.UTC()
	return json.Marshal(out)
}

func decodeGrant(record []byte) (Grant, error) {
	in, err := decode(grantKind, record, (*grantJSON).members)
	return Grant(in), err
}

func encodeConnection(c Connection) ([]byte, error) {
	access, refresh := c.Access.Reveal(), c.Refresh.Reveal()
	// JSON would replace foreign bytes without a word, and a token that was
	// changed in the store is worse than one that was never stored.
	if !utf8.ValidString(access) || !utf8.ValidString(refresh) {
		return nil, errors.New("the provider's token is not UTF-8")
	}
	return json.Marshal(connectionJSON{
		Agent: c.Agent, User: c.User, Provider: c.Provider,
		Access: access, Refresh: refresh, Expires: c.Expires.UTC(),
		Scopes: c.Scopes, Created: c.Created.UTC(), Ended: c.Ended, Dest: c.Destination,
	})
}

func decodeConnection(record []byte) (Connection, error) {
	in, err := decode(connectionKind, record, (*connectionJSON).members)
	if err != nil {
		return Connection{}, err
	}
	return Connection{
		Agent: in.Agent, User: in.User, Provider: in.Provider,
		Access: ath.NewSecret(in.Access), Refresh: ath.NewSecret(in.Refresh), Expires: in.Expires,
		Scopes: in.Scopes, Created: in.Created, Ended: in.Ended, Destination: in.Dest,
	}, nil
}

// decode reads a record by the shorter way if that will do. The result is that
// of decodeStrictly.
func decode[T any](kind kind, record []byte, members func(*T, *plain)) (T, error) {
	var out T
	if plainly(record, &out, members) {
		return out, nil
	}
	return decodeStrictly[T](kind, record)
}

// decodeStrictly takes no field that this athd does not know: it may be one
// that restricts what the record allows, so a record that holds one does not
// count. The parser's own words may quote the record, so they go no further.
func decodeStrictly[T any](kind kind, record []byte) (T, error) {
	var out, zero T
	d := json.NewDecoder(bytes.NewReader(record))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		return zero, fmt.Errorf("%w: the %s record is not JSON that this athd knows", ErrCorrupt, kind)
	}
	if _, err := d.Token(); err != io.EOF {
		return zero, fmt.Errorf("%w: the %s record goes on behind its end", ErrCorrupt, kind)
	}
	return out, nil
}
