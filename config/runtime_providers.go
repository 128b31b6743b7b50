package config

import "github.com/athd/athd/provider"

// RuntimeProviderOptions is what reading a provider needs that operators add while
// athd runs ([provider.ParseOne]).
func (s *Settings) RuntimeProviderOptions() provider.Options {
	return provider.Options{
		PublicURL: s.PublicURL, ConsentURL: s.ConsentURL, CallbackPerProvider: s.CallbackPerProvider,
		Renewal: s.Renewal, TokenTTL: s.TokenTTL, StrictScopes: s.StrictScopes,
		Egress: s.Egress, Own: s.Own(), ChecksReplies: s.Envoy.ChecksReplies,
	}
}
