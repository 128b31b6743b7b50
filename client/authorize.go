package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

const (
	sessionLife  = 10 * time.Minute // at most: Z-4
	maxLinkBytes = 16 << 10
)

// A Consent is what an agent asks a user for.
type Consent struct {
	Provider string
	Scopes   []string // of those that are approved
	// RedirectURI is where the browser goes in the end, with the code: one that
	// was registered, where the port of a loopback host may differ (Z-1). None
	// means [Client.Callback], whose page shows the code to the user.
	RedirectURI string
	// Resource is the API that the user's token is for, where the provider wants
	// to know (RFC 8707).
	Resource string
}

// An Authorization waits for a user's answer. The server keeps one for ten
// minutes at most (Z-4).
type Authorization struct {
	// URL is for the user, to open in a browser. It leads to a page of the server,
	// or straight on to the provider: which is the operator's choice (Z-3, Z-5).
	URL     string
	Session ath.Secret
	State   ath.Secret
	// Issuer is who must answer (RFC 9207): the server's URL.
	Issuer  string
	Expires time.Time // at the latest
}

// Authorize asks for a user's consent. Nothing happens before the user opens
// the URL.
func (c *Client) Authorize(ctx context.Context, what Consent) (*Authorization, error) {
	own, err := c.registered()
	if err != nil {
		return nil, err
	}
	attestation, err := c.attest("")
	if err != nil {
		return nil, err
	}
	var random [16]byte // 128 bits, in hex: what clients in the field send
	rand.Read(random[:])
	state, expires := hex.EncodeToString(random[:]), c.now().Add(sessionLife)
	var reply api.AuthorizeReply
	err = c.ask(ctx, http.MethodPost, ath.AuthorizePath, "", api.AuthorizeRequest{
		ClientID: own.ClientID, Attestation: attestation, Provider: what.Provider, Scopes: what.Scopes,
		State: state, RedirectURI: cmp.Or(what.RedirectURI, c.Callback()), Resource: what.Resource,
	}, &reply)
	if err != nil {
		return nil, err
	}
	if reply.Session.IsZero() {
		return nil, errors.New("client: the server answered without an ath_session_id")
	}
	if err := checkLink(reply.URL); err != nil {
		return nil, fmt.Errorf("client: the server's authorization_url cannot be shown: %w", err)
	}
	return &Authorization{
		URL: reply.URL, Session: reply.Session.Secret, State: ath.NewSecret(state), Issuer: c.server, Expires: expires,
	}, nil
}

// checkLink keeps a server from putting something else than a link before the
// user.
func checkLink(link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(link) > maxLinkBytes {
		return errors.New("it is not a web address")
	}
	if !ath.ValidURLBytes(link) {
		return errors.New("it contains characters that are not allowed in a URL")
	}
	return nil
}

// ErrOtherAnswer says that an answer is not for the authorization: whoever
// knows a redirect URI can send one. Go on waiting.
var ErrOtherAnswer = errors.New("client: the answer is not for this authorization")

// A CallbackError is that the user's browser came back without a code.
type CallbackError struct {
	Code        string // of RFC 6749, section 4.1.2.1; access_denied: the user said no
	Description string // a server's words
}

// Error names the code.
func (e *CallbackError) Error() string {
	return fmt.Sprintf("client: the authorization failed: %.60q: %.300q", e.Code, e.Description)
}

// Denied reports whether the user said no: do not ask again at once.
func (e *CallbackError) Denied() bool { return e.Code == "access_denied" }

// Code reads the one-time code from the query of the redirect URI (C-6). Only
// an answer with the agent's own state, for its own session and from the server
// that it asked counts: an answer to something else is [ErrOtherAnswer], a code
// of another server must not be sent to this one (RFC 9207).
func (a *Authorization) Code(q url.Values) (ath.Secret, error) {
	if len(q["state"]) != 1 || !a.State.Equal(q.Get("state")) {
		return ath.Secret{}, fmt.Errorf("%w: it does not carry its state", ErrOtherAnswer)
	}
	if len(q["ath_session_id"]) != 1 || !a.Session.Equal(q.Get("ath_session_id")) {
		return ath.Secret{}, fmt.Errorf("%w: it is for another session", ErrOtherAnswer)
	}
	if q.Has("error") {
		return ath.Secret{}, &CallbackError{Code: q.Get("error"), Description: q.Get("error_description")}
	}
	if len(q["iss"]) != 1 || subtle.ConstantTimeCompare([]byte(q.Get("iss")), []byte(a.Issuer)) != 1 {
		return ath.Secret{}, &IssuerError{Got: q.Get("iss"), Want: a.Issuer}
	}
	if len(q["code"]) != 1 || q.Get("code") == "" {
		return ath.Secret{}, errors.New("client: the answer holds no code")
	}
	return ath.NewSecret(q.Get("code")), nil
}

// An IssuerError is that an answer comes from another server (RFC 9207).
type IssuerError struct{ Got, Want string }

// Error names both.
func (e *IssuerError) Error() string {
	return fmt.Sprintf("client: the answer comes from %.300q, and not from %s", e.Got, e.Want)
}
