package tokenstore

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/athd/athd/ath"
)

// A RefreshStatus is what is known of a connection's refresh. It stands in x: an athd
// that ignores it uses the access token until that ends, as this one does, and
// refreshes nothing.
type RefreshStatus struct {
	// Refreshed is when the access token came, if it is not the first one.
	Refreshed time.Time `json:"refreshed,omitzero"`
	// RefreshExpires is the end of the refresh token; zero: not known, or never.
	RefreshExpires time.Time `json:"refresh_exp,omitzero"`
	// Refused is when the provider refused the refresh token: once the access
	// token has ended, the user must authorize again (P-6). Zero: it did not.
	Refused time.Time `json:"refused,omitzero"`
	// RefusedFor is the error code that it gave.
	RefusedFor string `json:"refused_for,omitzero"`
	// TriedAgain: the one later try with a refused token was made.
	TriedAgain bool `json:"tried_again,omitzero"`
	// Narrowed: a refresh gave fewer scopes than the user had allowed, so that
	// [Connection].Scopes bounds the grants of before.
	Narrowed bool `json:"narrowed,omitzero"`
	// Subject is the user as ID tokens name them, where that is not
	// [Connection].User.
	Subject string `json:"sub,omitzero"`
}

// OtherUser is what [RefreshStatus].RefusedFor says where the reply to a refresh was of
// another user, or of nobody knows whom: the connection has ended.
const OtherUser = "refresh_other_user"

// RejectedByUserinfo is what [RefreshStatus].RefusedFor says of a token that could not
// be refreshed, and that the API and the provider's userinfo endpoint both rejected.
const RejectedByUserinfo = "rejected_by_userinfo"

// connectionExtra is x of a connection: what this athd knows of it, and the
// members that it carries over.
type connectionExtra struct {
	RefreshStatus RefreshStatus `json:",embed"`
	Bound         string        `json:"bound,omitzero"`
	Others        extra         `json:",embed"`
}

// cutConnectionExtra takes what this athd knows out of x.
func (c *Connection) cutConnectionExtra(x extra) (extra, error) {
	if x == nil {
		return nil, nil
	}
	var in connectionExtra
	if err := json.Unmarshal(x, &in); err != nil {
		return nil, fmt.Errorf("%w: x of the %s record is not as this athd knows it", ErrCorrupt, connectionKind)
	}
	c.RefreshStatus, c.Bound = in.RefreshStatus, in.Bound
	return in.Others, nil
}

// addConnectionExtra is the reverse.
func (c *Connection) addConnectionExtra(x extra) (extra, error) {
	r := c.RefreshStatus
	if r == (RefreshStatus{}) && c.Bound == "" {
		return x, nil
	}
	r.Refreshed, r.RefreshExpires, r.Refused = r.Refreshed.UTC(), r.RefreshExpires.UTC(), r.Refused.UTC()
	return json.Marshal(connectionExtra{r, c.Bound, x}, writing)
}

// An Attempt is the record of a call that may have spent a refresh token. It is
// there from before the call until its outcome is stored, so that after a crash
// others know what may have happened. How old it is, the server's clock says.
type Attempt struct {
	Of      ath.Digest `json:"of"`                // of the refresh token
	Unknown bool       `json:"unknown,omitzero"`  // no answer to the call is known: it may have spent the token
	Lost    int        `json:"lost,omitzero"`     // calls before it of which no answer is known
	Failed  int        `json:"failed,omitzero"`   // calls before it that were answered, without tokens
	Wait    int64      `json:"wait_ms,omitzero"`  // nobody may make another call until it is as old, in milliseconds
	Keep    int64      `json:"keep_ms,omitempty"` // the TTL that it was written with, in milliseconds
}

func encodeAttempt(a Attempt, x extra) ([]byte, error) { return encode(stored[Attempt]{a, x}) }

func decodeAttempt(record []byte) (Attempt, extra, error) {
	return decodeOne[Attempt](attemptKind, record)
}
