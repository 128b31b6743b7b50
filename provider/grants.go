package provider

import (
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// What a server's grants belong to: the field grants.
const (
	GrantsPerConsent = "per_consent" // each consent has tokens of its own, next to those of others: the default
	GrantsPerUser    = "per_user"    // a new consent of a user ends the tokens of the older ones, or may
)

// unstable are user ids that a server may give to another person later: who shares
// tokens by one would share them with a stranger (OpenID Connect Core, section 5.7).
var unstable = []string{"email", "login", "name", "nickname", "phone_number", "preferred_username", "upn", "user_name", "username"}

// SharesGrants reports whether a user's agents share one connection.
func (p *Provider) SharesGrants() bool { return p.Grants == GrantsPerUser }

// Asked is what the server is asked for, for an agent that wants these scopes.
// Where agents share a connection that is all that any of them may want: the
// tokens of this consent take the place of those of the others. extra_scopes come
// on top.
func (p *Provider) Asked(scopes ath.Scopes, shared bool) ath.Scopes {
	if shared {
		scopes = slices.Concat(scopes, p.Scopes.Minus(scopes))
	}
	return scopes
}

// asked adds extra_scopes.
func (p *Provider) asked(scopes ath.Scopes) ath.Scopes {
	if len(p.ExtraScopes) == 0 {
		return scopes
	}
	return slices.Concat(scopes, p.ExtraScopes.Minus(scopes))
}

// grants reads the field grants, when all else is read.
func (c *check) grants(p *Provider, s serverFields) {
	switch p.Grants = s.Grants; p.Grants {
	case "":
		if p.Grants = GrantsPerConsent; c.Doc.Has(c.full("grants")...) {
			c.fail("grants", "want "+GrantsPerConsent+" or "+GrantsPerUser)
		}
		return
	case GrantsPerConsent:
		return
	case GrantsPerUser:
	default:
		c.fail("grants", "want "+GrantsPerConsent+" or "+GrantsPerUser)
		return
	}
	if p.Derived {
		c.fail("grants", GrantsPerUser+" needs scope_rules, or a preset's: the shared token can do more than one agent was allowed, and rules that are derived from the names of scopes must not be all that holds it back")
	}
	idToken := p.Issuer != "" && asksIDToken(p.asked(p.Scopes)) && (p.UserIDField == "" || p.Discovered)
	switch {
	case p.UserinfoURL == nil && !idToken && (p.UserIDField != "" || len(p.dialect.UserID) == 0):
		c.fail("grants", GrantsPerUser+" needs to know who the user is: give an issuer and openid in extra_scopes, or userinfo_endpoint")
	case slices.Contains(unstable, p.UserIDField[strings.LastIndexByte(p.UserIDField, '.')+1:]):
		c.fail("user_id_field", "with grants: "+GrantsPerUser+" want an id that is never another person's, such as sub or id")
	}
}
