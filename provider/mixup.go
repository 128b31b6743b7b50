package provider

import "slices"

// MixUp says what is wrong with each provider of [MixedUp].
const MixUp = "a client without a secret, beside another OAuth server with the same redirect URI: one of them could redeem the other's codes (RFC 9700, section 4.4); set callback: per_provider in athd.yaml, or give the client a secret"

// MixedUp returns the clients without a secret where several OAuth servers share
// one redirect URI. There a bad server can have a user's browser ask a good one
// with what was meant for itself, and is brought the good one's code with its
// PKCE verifier by athd. What keeps it from redeeming them is the secret of the
// client at the good server.
func MixedUp(set *Set, callbackPerProvider bool) []*Provider {
	if callbackPerProvider || set == nil || len(set.open) == 0 {
		return nil
	}
	// Asked last: mostly there is none of them, among thousands of providers.
	first := set.all[0][0]
	for p := range set.Each {
		if !SameServer(p, first) {
			return slices.Clone(set.open)
		}
	}
	return nil
}
