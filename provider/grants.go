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
// They are compared in lower case and without underscores.
var unstable = []string{
	"displayname", "email", "emailaddress", "handle", "login", "mail", "name", "nickname", "phonenumber",
	"preferredusername", "screenname", "uniquename", "upn", "username", "userprincipalname",
}

// ofMany are the ids of what many users have in common: an app, or where they work.
var ofMany = []string{
	"aud", "azp", "appid", "botid", "botuserid", "clientid", "customerid", "enterpriseid", "hd", "iss", "orgid",
	"organizationid", "teamid", "tenant", "tenantid", "tid", "workspaceid",
}

// holders are objects whose id is one of many.
var holders = []string{"app", "bot", "client", "company", "enterprise", "org", "organization", "team", "tenant", "workspace"}

func plainName(step string) string { return strings.ToLower(strings.ReplaceAll(step, "_", "")) }

// sharedByMany reports whether a field names what is not one person.
func sharedByMany(field string) bool {
	steps := strings.Split(field, ".")
	last := plainName(steps[len(steps)-1])
	return slices.Contains(ofMany, last) || last == "id" && len(steps) > 1 && slices.Contains(holders, plainName(steps[len(steps)-2]))
}

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
	if field, fault := p.unproven(p.Scopes); fault != "" {
		c.fail(field, fault)
	}
}

// ProvesUser reports whether the server says at a consent to these scopes who the
// user is, by an id that is one person's and stays so.
func (p *Provider) ProvesUser(scopes ath.Scopes) bool {
	_, fault := p.unproven(scopes)
	return fault == ""
}

// unproven says what keeps the server from proving who the user is who consents to
// these scopes, and in which field; "": nothing does.
func (p *Provider) unproven(scopes ath.Scopes) (field, fault string) {
	idToken := p.Issuer != "" && asksIDToken(p.asked(scopes)) && (p.UserIDField == "" || p.Discovered)
	asksReply := p.UserinfoURL == nil && p.UserIDField == "" // the preset says where
	switch {
	case asksReply && slices.ContainsFunc(p.dialect.UserID, sharedByMany):
		return "grants", GrantsPerUser + " cannot be with token_kind " + p.dialect.Name + ": its token is one for many users"
	case sharedByMany(p.UserIDField):
		return "user_id_field", "with grants: " + GrantsPerUser + " want the id of a user, not one that many have in common"
	case p.UserinfoURL == nil && !idToken && (p.UserIDField != "" || len(p.dialect.UserID) == 0):
		return "grants", GrantsPerUser + " needs to know who the user is: give an issuer and openid in extra_scopes, or userinfo_endpoint"
	case slices.Contains(unstable, plainName(p.UserIDField[strings.LastIndexByte(p.UserIDField, '.')+1:])):
		return "user_id_field", "with grants: " + GrantsPerUser + " want an id that is never another person's, such as sub or id"
	}
	return "", ""
}
