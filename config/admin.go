package config

import (
	"slices"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/strict"
)

// admin reads where operators are served, and their tokens.
func (l *loader) admin() {
	if p := l.c.Admin.Public; p != nil && !*p {
		l.s.AdminPrivate = true
		if l.s.Admin != (Address{}) && !l.s.Admin.Private() {
			l.warn("listen.admin is %s and operators use it (admin.public: false): their tokens are readable on their way, unless that network is nobody else's", l.s.Admin)
		}
	}
	digests, faults := map[ath.Digest]bool{}, len(l.Faults)
	for i := range l.c.Admin.Tokens {
		l.adminToken(i, digests)
	}
	if len(l.Faults) > faults {
		return
	}
	// Of one name the tokens follow each other: nobody reads in the audit log
	// which of them it was, so that they are one operator's, with one role.
	for i, t := range l.s.AdminTokens {
		for _, before := range l.s.AdminTokens[:i] {
			if before.Name == t.Name {
				l.checkRotation(i, before, t)
			}
		}
	}
	if len(l.s.AdminTokens) > 0 && !httpapi.HasAdmin(l.s.AdminTokens, l.now()) {
		l.warn("no token of admin.tokens has the role admin and has not expired: nobody can add a provider, or accept its endpoints")
	}
}

// adminToken reads one operator's token, and keeps its digest.
func (l *loader) adminToken(i int, digests map[ath.Digest]bool) {
	t := &l.c.Admin.Tokens[i]
	at := func(key string) []any { return []any{"admin", "tokens", i, key} }
	held := httpapi.AdminToken{Operator: l.operatorOf(i)}
	if t.Expires != "" {
		var err error
		if held.Expires, err = time.Parse(time.RFC3339, t.Expires); err != nil {
			l.Fail("want a date and time as RFC 3339 writes them, such as 2027-01-31T00:00:00Z", at("expires")...)
		} else if held.Expired(l.now()) {
			l.warn("%s: %s is past: the token of %s is not accepted", strict.Label(at("expires")...), t.Expires, t.Name)
		}
	}
	if !l.Required(t.TokenFile, at("token_file")...) {
		return
	}
	token, ok := l.readSecretFile(t.TokenFile, at("token_file")...)
	if !ok {
		return
	}
	held.Digest = ath.DigestOf(token.Reveal())
	earlier, err := checkAdminToken(token.Reveal())
	switch {
	case err != nil:
		l.Fail(err.Error(), at("token_file")...)
	case digests[held.Digest]:
		l.Fail("the file holds the same token as another one", at("token_file")...)
	case earlier:
		l.warn("%s: the token in the file was made by an earlier version and holds 16 random bytes: replace it by 32, such as openssl rand -base64 32 prints", strict.Label(at("token_file")...))
	}
	digests[held.Digest] = true
	if l.s.AdminTokenFile == "" && held.Role == api.RoleAdmin && !held.Expired(l.now()) {
		l.s.AdminTokenFile = l.resolve(t.TokenFile)
	}
	l.s.AdminTokens = append(l.s.AdminTokens, held)
}

// operatorOf says whose the token is, and what its bearer may do.
func (l *loader) operatorOf(i int) httpapi.Operator {
	t := &l.c.Admin.Tokens[i]
	at := func(key string) []any { return []any{"admin", "tokens", i, key} }
	o := httpapi.Operator{Name: t.Name, Role: api.Role(t.Role)}
	if l.Required(t.Name, at("name")...) {
		if err := checkLine(t.Name); err != nil {
			l.Fail(err.Error(), at("name")...)
		}
	}
	switch {
	case t.Role == "":
		o.Role = api.RoleAdmin // so it was before there were roles
		l.warn("%s is not set: the token of %s may do everything; say so (role: admin), or give it less (viewer, approver)", strict.Label(at("role")...), t.Name)
	case !slices.Contains(api.Roles(), o.Role):
		l.Fail("want viewer, approver or admin", at("role")...)
	}
	if t.SeesUsers != nil {
		if o.SeesUsers = *t.SeesUsers; o.Role != api.RoleViewer {
			l.Fail("is for the role viewer: all others are told the ids of users anyway", at("sees_users")...)
		}
	}
	return o
}

// checkRotation wants of two tokens of a name that they are of one operator, and
// that one of them goes.
func (l *loader) checkRotation(i int, before, t httpapi.AdminToken) {
	switch {
	case before.Role != t.Role || before.SeesUsers != t.SeesUsers:
		l.Fail("is another token's too, which is one operator's way from an old token to a new one: both need the same role and sees_users; give another operator another name", "admin", "tokens", i, "name")
	case before.Expires.IsZero() && t.Expires.IsZero():
		l.Fail("is another token's too, which is one operator's way from an old token to a new one: say when the old one ends (expires); give another operator another name", "admin", "tokens", i, "name")
	}
}
