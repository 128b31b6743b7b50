package provider

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// SameUser reports whether the reply to a refresh may be of the user whom it is
// for: where it holds an ID token, that must have the issuer, the client and the
// subject of the authorization (OpenID Connect Core, section 12.2). Most servers
// send none. subject is the user as ID tokens name them; "": not known. The error,
// an [*ExchangeError], says what differs and names nobody.
//
// The signature is not looked at: the reply came from the token endpoint over TLS
// (section 3.1.3.7, item 6), and keys that cannot be fetched at this moment must
// not cost a refresh token that is spent by now. Nor are exp, nonce and at_hash,
// which section 12.2 does not ask for.
func (p *Provider) SameUser(t Tokens, subject string) error {
	if t.idToken.IsZero() || p.Issuer == "" {
		return nil
	}
	call := &call{provider: p.ID, endpoint: "ID token of the refresh"}
	claims, ok := claimsOf(t.idToken.Reveal())
	switch {
	case !ok:
		return call.fault("is malformed")
	case claims.Issuer != p.Issuer && !(p.Issuer == "https://accounts.google.com" && claims.Issuer == "accounts.google.com"): // Google signs both, as go-oidc knows
		e := call.fault("was issued by another issuer")
		e.detail = TwoIssuers(p.Issuer, claims.Issuer)
		return e
	case !slices.Contains(claims.Audience, p.ClientID), claims.AuthorizedParty != "" && claims.AuthorizedParty != p.ClientID:
		return call.fault("was issued to another client")
	case subject != "" && (reply{"sub": claims.Subject}).user("sub") != subject:
		return call.fault("is of another user")
	}
	return nil
}

// NamesBySubject reports whether the users of this provider are called as ID
// tokens call them (sub), so that nothing more need be remembered for
// [Provider.SameUser].
func (p *Provider) NamesBySubject() bool {
	return p.Issuer != "" && (p.UserIDField == "" || p.UserIDField == "sub" && p.UserinfoURL != nil) && len(p.dialect.UserID) == 0
}

// idClaims are what an ID token says of whose it is.
type idClaims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        audience `json:"aud"`
	AuthorizedParty string   `json:"azp"`
}

// An audience is one client, or a list of them.
type audience []string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *audience) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]string)(a))
	}
	*a = make(audience, 1)
	return json.Unmarshal(text, &(*a)[0])
}

func claimsOf(idToken string) (c idClaims, ok bool) {
	parts := strings.Split(idToken, ".")
	if len(idToken) > maxTokenBytes || len(parts) != 3 {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	return c, err == nil && json.Unmarshal(payload, &c) == nil
}

// idTokenOf is the ID token of a reply; what is none is kept, to be refused.
func (r reply) idTokenOf() ath.Secret {
	text, ok := r.text("id_token")
	if !ok {
		text = "malformed"
	}
	return ath.NewSecret(text)
}
