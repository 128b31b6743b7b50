package tokenstore

import (
	"strings"

	"github.com/athd/athd/ath"
)

// A binding says what a sealed record opens with, beside its key.
type binding string

const (
	notSealed       binding = ""
	bindsNothing    binding = "nothing"
	bindsConnection binding = "connection" // agent, user and provider of the connection with its tag
	bindsIssuer     binding = "issuer"     // the issuer's name
)

// A form says what stands at the keys of a kind, and so what becomes of it when
// the keyset has another primary key: what is sealed is sealed again by
// [Store.Rewrap]. A test holds forms to the kinds that this package knows.
type form struct {
	kind   kind
	sealed binding
	// byUser: the tag follows from a user's id and a key of the keyset; see userTags.
	byUser bool
}

var forms = [...]form{
	{kind: agentKind, sealed: bindsNothing},
	{kind: sessionKind, sealed: bindsNothing},
	{kind: grantKind, sealed: bindsNothing},
	{kind: renewalKind, sealed: bindsNothing},
	{kind: connectionKind, sealed: bindsConnection},
	{kind: attemptKind, sealed: bindsConnection},
	{kind: ownerKind, sealed: bindsNothing},
	{kind: revocationKind, sealed: bindsNothing},
	{kind: sharedAtKind, sealed: bindsNothing},
	{kind: hostsKind, sealed: bindsNothing},
	{kind: issuerKind, sealed: bindsIssuer},
	{kind: providerKind, sealed: bindsNothing},
	{kind: canaryKind, sealed: bindsNothing},
	{kind: retiredKind, sealed: bindsNothing},

	{kind: userConnsKind, byUser: true},
	{kind: waitingKind, byUser: true},
	{kind: userEndedKind, byUser: true},

	{kind: providersKind},
	{kind: generationKind},
	{kind: grantsKind},
	{kind: connectionsKind},
	{kind: endedKind},
	{kind: orderKind},
	{kind: leaseKind},

	// It is sealed into links, which are good for ten minutes, and stands at no key.
	{kind: healingKind},
}

// formOf returns the form of a kind. Values that are used once stand below names
// of their own, of which there may be any number.
func formOf(of kind) (form, bool) {
	for i := range forms {
		if forms[i].kind == of {
			return forms[i], true
		}
	}
	return form{kind: of}, false
}

// kindOf returns the kind of what stands at a key, and the key's tag.
func kindOf(key string) (of kind, tag ath.Tag) {
	if key == canaryKey {
		return canaryKind, tagOf(key)
	}
	_, what, _ := strings.Cut(key, "}:")
	what, _, _ = strings.Cut(what, ":")
	return kind(what), tagOf(key)
}

// SealedKinds are the kinds of records that [Config].Unreadable names: all that
// are sealed but the two by which keysets are told apart.
func SealedKinds() []string {
	var out []string
	for _, f := range forms {
		if f.sealed != notSealed && f.kind != canaryKind && f.kind != retiredKind {
			out = append(out, string(f.kind))
		}
	}
	return out
}
