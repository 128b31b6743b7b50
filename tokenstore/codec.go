package tokenstore

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
)

// The JSON in a sealed record. The tags of [Agent], [Session], [Grant] and
// [Connection] are the storage format; whoever changes one so that older code
// would read it wrongly raises version. Nothing else marshals a record, and
// only here a stored ath.Secret is revealed.

// stored is a record as it is written: its members, which every reader must
// understand, and x, which a reader may ignore.
type stored[T any] struct {
	Value T     `json:",embed"`
	X     extra `json:"x,omitzero"`
}

// An extra is the member x of a record: a JSON object for what does not
// restrict. Of a connection this athd knows [RefreshStatus] and
// [Connection].Bound in it, of a revocation the latter, of a session
// its Destination and Bound, of a grant the name that the agent used for the provider; whatever else is there is carried over when the record is rewritten.
type extra = jsontext.Value

type storedSession struct {
	Session
	ID         string `json:"id,omitzero"`
	Verifier   string `json:"ver,omitzero"`
	BrowserKey string `json:"browser,omitzero"`
}

type storedConnection struct {
	Connection
	Access  string `json:"tok,omitzero"`
	Refresh string `json:"ref,omitzero"`
}

func encodeAgent(a Agent, x extra) ([]byte, error) {
	a.ApprovalExpires, a.Registered = a.ApprovalExpires.UTC(), a.Registered.UTC()
	return encode(stored[Agent]{a, x})
}

func decodeAgent(record []byte) (Agent, extra, error) { return decodeOne[Agent](agentKind, record) }

func encodeSession(s Session, x extra) ([]byte, error) {
	s.Created, s.Expires = s.Created.UTC(), s.Expires.UTC()
	if s.Destination != "" {
		var err error
		if x, err = json.Marshal(sessionExtra{s.Destination, s.Bound, x}, writing); err != nil {
			return nil, err
		}
	}
	return encode(stored[storedSession]{storedSession{s, s.ID.Reveal(), s.Verifier.Reveal(), s.BrowserKey.Reveal()}, x})
}

// sessionExtra is x of a session.
type sessionExtra struct {
	Destination string `json:"dest,omitzero"`
	Bound       string `json:"bound,omitzero"`
	Others      extra  `json:",embed"`
}

func decodeSession(record []byte) (Session, extra, error) {
	in, x, err := decodeOne[storedSession](sessionKind, record)
	if err != nil {
		return Session{}, nil, err
	}
	s := in.Session
	s.ID, s.Verifier, s.BrowserKey = ath.NewSecret(in.ID), ath.NewSecret(in.Verifier), ath.NewSecret(in.BrowserKey)
	if x != nil {
		var known sessionExtra
		if json.Unmarshal(x, &known) != nil {
			return Session{}, nil, fmt.Errorf("%w: x of the %s record is not as this athd knows it", ErrCorrupt, sessionKind)
		}
		s.Destination, s.Bound, x = known.Destination, known.Bound, known.Others
	}
	return s, x, nil
}

func encodeGrant(g Grant, x extra) ([]byte, error) {
	if g.Agent == "" {
		return nil, errors.New("a grant names no agent")
	}
	g.Issued, g.Expires, g.Revoked = g.Issued.UTC(), g.Expires.UTC(), g.Revoked.UTC()
	if g.ProviderAs != "" && g.ProviderAs != g.Provider {
		var err error
		if x, err = json.Marshal(grantExtra{g.ProviderAs, x}, writing); err != nil {
			return nil, err
		}
	}
	return encode(stored[Grant]{g, x})
}

// grantExtra is x of a grant.
type grantExtra struct {
	ProviderAs string `json:"as,omitzero"`
	Others     extra  `json:",embed"`
}

func decodeGrant(record []byte) (Grant, extra, error) {
	g, x, err := decodeOne[Grant](grantKind, record)
	if err == nil && g.Agent == "" {
		// Without an agent it would name a shared connection.
		return Grant{}, nil, fmt.Errorf("%w: the %s record names no agent", ErrCorrupt, grantKind)
	}
	if err == nil && x != nil {
		var known grantExtra
		if json.Unmarshal(x, &known) != nil {
			return Grant{}, nil, fmt.Errorf("%w: x of the %s record is not as this athd knows it", ErrCorrupt, grantKind)
		}
		g.ProviderAs, x = known.ProviderAs, known.Others
	}
	return g, x, err
}

func encodeConnection(c Connection, x extra) ([]byte, error) {
	access, refresh := c.Access.Reveal(), c.Refresh.Reveal()
	// encode would replace such bytes without an error, and a token that was
	// changed in the store is worse than one that was never stored.
	if !utf8.ValidString(access) || !utf8.ValidString(refresh) {
		return nil, errors.New("the provider's token is not UTF-8")
	}
	c.Expires, c.Created = c.Expires.UTC(), c.Created.UTC()
	x, err := c.addConnectionExtra(x)
	if err != nil {
		return nil, err
	}
	return encode(stored[storedConnection]{storedConnection{c, access, refresh}, x})
}

func decodeConnection(record []byte) (Connection, extra, error) {
	in, x, err := decodeOne[storedConnection](connectionKind, record)
	if err != nil {
		return Connection{}, nil, err
	}
	c := in.Connection
	if x, err = c.cutConnectionExtra(x); err != nil {
		return Connection{}, nil, err
	}
	c.Access, c.Refresh = ath.NewSecret(in.Access), ath.NewSecret(in.Refresh)
	return c, x, nil
}

func decodeOne[T any](kind kind, record []byte) (T, extra, error) {
	out, err := decode[stored[T]](kind, record)
	if err == nil && !isExtra(out.X) {
		err = fmt.Errorf("%w: x of the %s record is not an object", ErrCorrupt, kind)
	}
	if err != nil {
		return *new(T), nil, err
	}
	return out.Value, out.X, nil
}

func isExtra(x extra) bool { return x == nil || x.Kind() == jsontext.KindBeginObject }

var (
	// writing replaces bytes that are not UTF-8, and leaves the strings of x as
	// they are spelled.
	writing = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))
	// reading takes no member that this athd does not know: it may be one that
	// restricts what the record allows, so that a record that holds one does not
	// count.
	reading = json.RejectUnknownMembers(true)
)

func encode(in any) ([]byte, error) { return json.Marshal(in, writing) }

// decode reads a record. The parser's own error may quote the record, so it is
// dropped.
func decode[T any](kind kind, record []byte) (T, error) {
	var out T
	if err := json.Unmarshal(record, &out, reading); err != nil {
		return *new(T), fmt.Errorf("%w: the %s record is not JSON that this athd knows", ErrCorrupt, kind)
	}
	return out, nil
}
