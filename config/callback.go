package config

import (
	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

// callback says where OAuth servers send users back: all to one redirect URI,
// as the ATH tutorial has it, or each to one of its own (RFC 9700, section 4.4).
func (l *loader) callback() {
	switch l.c.Callback {
	case "", "shared":
	case "per_provider":
		l.s.CallbackPerProvider = true
	default:
		l.Fail("want shared or per_provider", "callback")
	}
}

// noMixUp refuses a client without a secret where several OAuth servers share
// one redirect URI. There a bad server can have a user's browser ask a good one
// with what was meant for itself, and is brought the good one's code with its
// PKCE verifier by athd. What keeps it from redeeming them is the secret of the
// client at the good server.
func (l *loader) noMixUp(set *provider.Set, fault func(id, message string)) {
	all := set.All()
	if l.s.CallbackPerProvider || len(all) == 0 {
		return
	}
	several := false
	for _, p := range all {
		several = several || !provider.SameServer(p, all[0])
	}
	for _, p := range all {
		if several && p.AuthMethod == provider.NoClientAuth {
			fault(p.ID, "a client without a secret, beside another OAuth server with the same redirect URI: one of them could redeem the other's codes (RFC 9700, section 4.4); set callback: per_provider in athd.yaml, or give the client a secret")
		}
	}
}

// authMethodFault places a fault of a provider or app at its token_auth_method.
func (l *loader) authMethodFault(id, message string) {
	const name = "token_auth_method"
	for i, app := range l.c.Apps {
		if appID(app) == id {
			l.Fail(message, "apps", i, "oauth", name)
			return
		}
	}
	path := l.resolve(l.c.ProvidersFile)
	data, _, err := l.ReadFile(path)
	if err != nil {
		l.Fail(message, "providers_file")
		return
	}
	var raw any
	doc, _ := strict.JSON(path, data, &raw)
	c := strict.Checker{Doc: doc, Base: []any{id}}
	c.Fail(message, name)
	l.Faults = append(l.Faults, c.Faults...)
}
