package attest

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
)

const (
	maxCompactBytes = 8 << 10
	maxKeyIDBytes   = 256
	maxIDBytes      = 256 // of jti

	leeway  = 30 * time.Second           // on exp
	window  = 5 * time.Minute            // of iat around now; clocks may differ by as much
	maxLife = time.Hour + 60*time.Second // exp - iat
)

// An attestation is the JWT with its claims read, but nothing verified.
type attestation struct {
	signed    string // what the signature covers
	signature []byte

	issuer, subject, id string
	audience            []string
	issued, expires     time.Time
	notBefore           time.Time // zero: absent
}

// parse checks the form: size, three parts, header, presence and types of
// claims. It looks at no value that depends on time or agent.
func parse(compact string) (*attestation, error) {
	if compact == "" || len(compact) > maxCompactBytes {
		return nil, refuse(Malformed, "empty, or larger than 8 KiB")
	}
	// Go's base64 reads over line breaks, so that one attestation would have
	// many spellings.
	if strings.ContainsAny(compact, "\r\n") {
		return nil, refuse(Malformed, "holds a line break")
	}
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithJSONNumber(), jwt.WithStrictDecoding())
	token, parts, err := parser.ParseUnverified(compact, claims)
	if errors.Is(err, jwt.ErrTokenUnverifiable) || err == nil && token.Method != jwt.SigningMethodES256 {
		return nil, refuse(Algorithm, "alg is not ES256")
	}
	if err != nil {
		return nil, refuse(Malformed, "not a signed JWT in compact form")
	}
	// Of a member that is there twice, one reader takes the first and another
	// the last (RFC 7515, section 4; RFC 7519, section 4).
	for i, what := range []string{"the header", "the payload"} {
		data, err := parser.DecodeSegment(parts[i])
		if err == nil {
			err = checkMembers(what, data)
		}
		if err != nil {
			return nil, &Error{Reason: Malformed, message: "not one JSON object with each member once", cause: err}
		}
	}
	if err := checkHeader(token.Header); err != nil {
		return nil, err
	}
	a := &attestation{signed: parts[0] + "." + parts[1], signature: token.Signature}
	return a, a.read(claims)
}

// checkHeader judges what else but alg may stand in the header. Clients in the
// field leave typ and kid out; kid chooses nothing here, since an agent has one
// key. What would have to be understood is refused, and what could only bring a
// key along (jwk, jku, x5c, …) is never looked at.
func checkHeader(header map[string]any) error {
	if typ, there := header["typ"]; there && !isJWT(typ) {
		return refuse(Malformed, "typ is not JWT")
	}
	if kid, there := header["kid"]; there {
		if kid, _ := kid.(string); kid == "" || len(kid) > maxKeyIDBytes {
			return refuse(Malformed, "kid is empty, too long, or not text")
		}
	}
	// An extension that must be understood (RFC 7515, section 4.1.11) is not.
	// b64 changes what is signed (RFC 7797), also where crit was forgotten.
	for _, name := range []string{"crit", "b64"} {
		if _, there := header[name]; there {
			return refuse(Malformed, name+" is not supported")
		}
	}
	return nil
}

// isJWT reports whether typ is the media type application/jwt, which may be
// written without "application/" (RFC 7515, section 4.1.9) and in any case.
func isJWT(typ any) bool {
	s, _ := typ.(string)
	const tree = "application/"
	if len(s) > len(tree) && strings.EqualFold(s[:len(tree)], tree) {
		s = s[len(tree):]
	}
	return strings.EqualFold(s, "JWT")
}

func (a *attestation) read(claims jwt.MapClaims) error {
	for name, to := range map[string]*string{"iss": &a.issuer, "sub": &a.subject, "jti": &a.id} {
		if *to, _ = claims[name].(string); *to == "" {
			return refuse(Malformed, name+" is missing, or not text")
		}
	}
	if len(a.id) > maxIDBytes {
		return refuse(Malformed, "jti is longer than 256 bytes")
	}
	switch aud := claims["aud"].(type) {
	case string:
		a.audience = []string{aud}
	case []any:
		for _, x := range aud {
			s, ok := x.(string)
			if !ok {
				return refuse(Malformed, "aud holds something that is not text")
			}
			a.audience = append(a.audience, s)
		}
	default:
		return refuse(Malformed, "aud is missing, or neither text nor a list")
	}
	var ok bool
	if a.issued, ok = date(claims["iat"]); !ok {
		return refuse(Malformed, "iat is missing, or not a time")
	}
	if a.expires, ok = date(claims["exp"]); !ok {
		return refuse(Malformed, "exp is missing, or not a time")
	}
	if a.notBefore, ok = date(claims["nbf"]); !ok && claims["nbf"] != nil {
		return refuse(Malformed, "nbf is not a time")
	}
	return nil
}

// date reads a NumericDate (RFC 7519, section 2): seconds, perhaps with a
// fraction, up to the year 9999.
func date(claim any) (time.Time, bool) {
	n, ok := claim.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || seconds < 0 || seconds > 253402300799 {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}

// check compares the claims with the clock and with what is expected. It says
// nothing of sub: that is said only once the signature holds.
func (a *attestation) check(now time.Time, want Expect) error {
	switch {
	case !now.Before(a.expires.Add(leeway)):
		return refuse(Expired, "exp is past")
	case a.issued.Before(now.Add(-window)):
		return refuse(Times, "iat is more than 5 minutes ago")
	case a.issued.After(now.Add(window)):
		return refuse(Times, "iat is more than 5 minutes ahead")
	case a.expires.Sub(a.issued) > maxLife:
		return refuse(Times, "exp is more than an hour after iat")
	case a.notBefore.After(now.Add(leeway)):
		return refuse(Times, "nbf is ahead")
	case !slices.ContainsFunc(want.Audiences, func(s string) bool { return s != "" && slices.Contains(a.audience, s) }):
		return &Error{Reason: Audience, Expected: slices.Clone(want.Audiences), message: "aud is not one of those expected"}
	case !a.issuedBy(want.Agent):
		return refuse(Issuer, "iss is neither the agent_id nor its origin")
	}
	return nil
}

// issuedBy compares iss with the agent, or with whatever agent sub names: an
// attestation that is sound in itself but another agent's is to be refused for
// its sub, not for its iss.
func (a *attestation) issuedBy(agent ath.AgentID) bool {
	if a.issuer == agent.String() || a.issuer == agent.Origin() || a.issuer == a.subject {
		return true
	}
	other, err := ath.ParseAgentID(a.subject, true)
	return err == nil && a.issuer == other.Origin()
}

// acceptableFor returns for how long another replica, whose clock may be
// behind, could still accept the attestation: that long its jti must be
// remembered.
func (a *attestation) acceptableFor(now time.Time) time.Duration {
	end := a.issued.Add(window)
	if expired := a.expires.Add(leeway); expired.Before(end) {
		end = expired
	}
	return max(end.Sub(now), 0) + window
}
