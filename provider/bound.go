package provider

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
)

// ownEndpoints says which endpoints that get a user's token the operator wrote. Those of
// a preset are athd's own, and those of an issuer are that issuer's.
type ownEndpoints struct{ userinfo, revocation bool }

// How the name of an endpoint begins in [Provider.Bound].
const (
	byOperator = 'w' // a digest of the URL follows
	byIssuer   = 'i' // a digest of the issuer follows, which may move its endpoint
)

// Bound is what binds a connection beside [Provider.Destination]: the userinfo and
// the revocation endpoint, to which the user's token goes too (O-2). It holds no
// URL, only digests, and is never "": that is what connections have which were made
// before there was one. See [Provider.Agreed].
//
// An endpoint that a preset knows is not bound: it comes with athd, and a newer
// athd that knows one more must end no connection.
func (p *Provider) Bound() string {
	return "u" + p.boundTo(p.UserinfoURL, p.written.userinfo) + " r" + p.boundTo(p.RevocationURL, p.written.revocation)
}

func (p *Provider) boundTo(endpoint *url.URL, written bool) string {
	switch {
	case written && endpoint != nil:
		return string(byOperator) + digestOf(endpoint.String())
	case p.Discovered:
		return string(byIssuer) + digestOf(p.Issuer)
	}
	return ""
}

func digestOf(s string) string {
	d := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(d[:16])
}

// Agreed reports whether the user of a connection agreed to where its token would
// go now (O-2). destination and bound are those of when it was made; bound "" is of
// a connection from before there was one, to which the destination alone applies.
func (p *Provider) Agreed(destination, bound string) bool {
	return destination != "" && destination == p.Destination() && (bound == "" || bound == p.Bound() || p.agreedTo(bound, 'u') && p.agreedTo(bound, 'r'))
}

// AgreedToRevoke reports whether a connection's token may be sent to the revocation
// endpoint: whether it is that of the client that got the token, and the one to
// which the user agreed.
func (p *Provider) AgreedToRevoke(destination, bound string) bool {
	return SameClient(destination, p.Destination()) && (bound == "" || p.agreedTo(bound, 'r'))
}

// agreedTo looks at one endpoint. Where there is none any more, no token goes
// anywhere. One that is new, where the user was told of none that the operator
// wrote, must be on an origin that has the token anyway: so userinfo_endpoint can be
// added at the API's own host.
func (p *Provider) agreedTo(bound string, which byte) bool {
	endpoint, written := p.UserinfoURL, p.written.userinfo
	if which == 'r' {
		endpoint, written = p.RevocationURL, p.written.revocation
	}
	was, known := "", false
	for part := range strings.SplitSeq(bound, " ") {
		if part != "" && part[0] == which {
			was, known = part[1:], true
		}
	}
	if !known || was != "" && was[0] != byOperator && was[0] != byIssuer {
		return false // of an athd that knows more
	}
	switch {
	case endpoint == nil, !written && !p.discovered.has(endpoint), was == p.boundTo(endpoint, written):
		return true
	case was != "" && was[0] == byOperator:
		return was[1:] == digestOf(endpoint.String())
	}
	return sameOrigin(endpoint, p.TokenURL) || sameOrigin(endpoint, p.APIBase)
}

func sameOrigin(a, b *url.URL) bool {
	return a != nil && b != nil && a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}
