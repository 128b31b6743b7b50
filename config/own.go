package config

import (
	"slices"

	"github.com/athd/athd/provider"
)

// Own returns where athd, its Envoy and the apps of the configuration answer: where
// the API of a provider that is added at run time may not be.
func (s *Settings) Own() provider.Own {
	var own provider.Own
	own.AddURL(s.PublicURL)
	own.AddURL(s.ConsentURL)
	for _, p := range s.Providers.Apps() {
		own.AddURL(p.App.Audience)
		own.AddURL(p.App.APIBase)
		for _, h := range p.App.Hosts {
			own.AddHost(h)
		}
	}
	own.AddListener(s.Envoy.Listen)
	own.AddListener(s.Envoy.Admin)
	for _, a := range slices.Concat([]Address{s.GRPC, s.HTTP, s.Admin}, s.Envoy.GRPC, s.Envoy.HTTP) {
		if a.Network == "tcp" {
			own.AddListener(a.At)
		}
	}
	return own
}
