package tokenstore

import (
	"time"
	"unicode/utf8"

	"github.com/athd/athd/ath"
)

// A plain reads JSON as our own encoder writes it where no string needs an
// escape: without white space, each member once. That is nearly every record,
// and three of them are read for each decision, which encoding/json makes the
// most expensive part of one.
//
// It never judges. Whatever it does not expect makes it odd, and then
// encoding/json reads the record, strictly, and says what is wrong.
type plain struct {
	rest string
	odd  bool
}

// plainly reads a record into out and reports whether it could. If not, out is
// to be thrown away.
func plainly[T any](record []byte, out *T, members func(*T, *plain)) bool {
	p := plain{rest: string(record)} // one copy, of which every string is a part
	members(out, &p)
	return !p.odd && p.rest == ""
}

// skip passes over c, which must be next.
func (p *plain) skip(c byte) {
	if !p.next(c) {
		p.odd = true
	}
}

// next passes over c if it is next.
func (p *plain) next(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// object calls member with the name of each member, which must then read its
// value. An object without members is odd.
func (p *plain) object(member func(name string)) {
	p.skip('{')
	for !p.odd {
		name := p.text()
		p.skip(':')
		if p.odd {
			return
		}
		member(name)
		if !p.next(',') {
			p.skip('}')
			return
		}
	}
}

// array calls element for each element, which it must read. An empty array is
// odd.
func (p *plain) array(element func()) {
	p.skip('[')
	for !p.odd {
		element()
		if !p.next(',') {
			p.skip(']')
			return
		}
	}
}

// quoted reads a string with its quotes.
func (p *plain) quoted() string {
	if p.odd || p.rest == "" || p.rest[0] != '"' {
		p.odd = true
		return ""
	}
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			out := p.rest[:i+1]
			p.rest = p.rest[i+1:]
			p.odd = !utf8.ValidString(out)
			return out
		case c < ' ' || c == '\\':
			p.odd = true
			return ""
		}
	}
	p.odd = true
	return ""
}

func (p *plain) text() string {
	if s := p.quoted(); !p.odd {
		return s[1 : len(s)-1]
	}
	return ""
}

func (p *plain) strings() []string {
	out := make([]string, 0, 4)
	p.array(func() { out = append(out, p.text()) })
	return out
}

func (p *plain) scopes() ath.Scopes { return p.strings() }

// time reads a time as encoding/json does.
func (p *plain) time() (t time.Time) {
	if s := p.quoted(); !p.odd && t.UnmarshalJSON([]byte(s)) != nil {
		p.odd = true
	}
	return t
}

func (p *plain) digest() (d ath.Digest) {
	if s := p.text(); !p.odd && d.UnmarshalText([]byte(s)) != nil {
		p.odd = true
	}
	return d
}

// yes reads true: false is left out.
func (p *plain) yes() bool {
	for _, c := range []byte("true") {
		p.skip(c)
	}
	return true
}

// count reads a number from 1 to 999999: zero is left out.
func (p *plain) count() (n int) {
	if p.rest == "" || p.rest[0] == '0' {
		p.odd = true
	}
	digits := 0
	for ; p.rest != "" && '0' <= p.rest[0] && p.rest[0] <= '9'; p.rest = p.rest[1:] {
		n = 10*n + int(p.rest[0]-'0')
		if digits++; digits > 6 {
			break
		}
	}
	p.odd = p.odd || digits == 0 || digits > 6
	return n
}

// unknown: encoding/json may know the name by another spelling.
func (p *plain) unknown() { p.odd = true }

func (g *grantJSON) members(p *plain) {
	p.object(func(name string) {
		switch name {
		case "agent":
			g.Agent = p.text()
		case "client":
			g.ClientID = p.text()
		case "user":
			g.User = p.text()
		case "p":
			g.Provider = p.text()
		case "scopes":
			g.Scopes = p.scopes()
		case "conn":
			g.Connection = ath.Tag(p.text())
		case "at":
			g.Issued = p.time()
		case "exp":
			g.Expires = p.time()
		case "rev":
			g.Revoked = p.time()
		case "jkt":
			g.Thumbprint = p.text()
		case "gen":
			g.Generation = p.count()
		default:
			p.unknown()
		}
	})
}

func (c *connectionJSON) members(p *plain) {
	p.object(func(name string) {
		switch name {
		case "agent":
			c.Agent = p.text()
		case "user":
			c.User = p.text()
		case "p":
			c.Provider = p.text()
		case "tok":
			c.Access = p.text()
		case "ref":
			c.Refresh = p.text()
		case "exp":
			c.Expires = p.time()
		case "scopes":
			c.Scopes = p.scopes()
		case "at":
			c.Created = p.time()
		case "ended":
			c.Ended = p.yes()
		case "dest":
			c.Dest = p.text()
		default:
			p.unknown()
		}
	})
}

func (a *agentJSON) members(p *plain) {
	p.object(func(name string) {
		switch name {
		case "id":
			a.ID = p.text()
		case "client":
			a.ClientID = p.text()
		case "secret":
			a.SecretDigest = p.digest()
		case "name":
			a.Name = p.text()
		case "dev":
			a.Developer.members(p)
		case "purpose":
			a.Purpose = p.text()
		case "redirects":
			a.RedirectURIs = p.strings()
		case "approvals":
			p.odd = p.odd || a.Approvals != nil // twice: encoding/json mixes them
			p.array(func() {
				var next approvalJSON
				next.members(p)
				a.Approvals = append(a.Approvals, next)
			})
		case "until":
			a.ApprovalExpires = p.time()
		case "suspended":
			a.Suspended = p.yes()
		case "gen":
			a.Generation = p.count()
		case "at":
			a.Registered = p.time()
		default:
			p.unknown()
		}
	})
}

func (d *developerJSON) members(p *plain) {
	p.object(func(name string) {
		switch name {
		case "name":
			d.Name = p.text()
		case "id":
			d.ID = p.text()
		case "contact":
			d.Contact = p.text()
		default:
			p.unknown()
		}
	})
}

func (a *approvalJSON) members(p *plain) {
	p.object(func(name string) {
		switch name {
		case "p":
			a.Provider = p.text()
		case "yes":
			a.Approved = p.scopes()
		case "wait":
			a.Pending = p.scopes()
		case "no":
			a.Denied = p.scopes()
		case "why":
			a.DenialReason = p.text()
		case "bar":
			a.OperatorDenied = p.scopes()
		default:
			p.unknown()
		}
	})
}
