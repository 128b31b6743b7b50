package streams

import (
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/test/harness/streams"
)

// An event takes away what an exchange of one agent stands on, by a request to one
// athd.
type event struct {
	name string
	do   func(w *world, at int, h *holder, k streams.Kind) error
}

// events are those of one agent's. That a token expires is nobody's request, and
// what happens to a whole athd ends more than one: each has a test of its own.
func events() []event {
	agent := func(word string) func(*world, int, *holder, streams.Kind) error {
		return func(w *world, at int, h *holder, _ streams.Kind) error {
			return w.operate(at, http.MethodPost, ath.AdminAgentsPath+"/"+h.client+"/"+word, struct{}{})
		}
	}
	return []event{
		{"token revoked", func(w *world, at int, h *holder, _ streams.Kind) error { return w.revoke(at, h, h.token.Secret()) }},
		{"renewal revoked", func(w *world, at int, h *holder, _ streams.Kind) error { return w.revoke(at, h, h.renewal.Secret()) }},
		{"agent suspended", agent("suspend")},
		{"agent removed", func(w *world, at int, h *holder, _ streams.Kind) error {
			return w.operate(at, http.MethodDelete, ath.AdminAgentsPath+"/"+h.client, struct{}{})
		}},
		{"host suspended", func(w *world, at int, h *holder, _ streams.Kind) error {
			return w.operate(at, http.MethodPost, ath.AdminHostsPath+"/suspend", api.HostRequest{Host: h.host})
		}},
		{"scope denied", func(w *world, at int, h *holder, k streams.Kind) error { return w.deny(at, h, scopeOf(k)) }},
		{"connection ended", func(w *world, at int, h *holder, _ streams.Kind) error {
			return w.operate(at, http.MethodPost, ath.AdminConnectionsPath+"/"+ath.NewConnectionID(h.connection).String()+"/end", struct{}{})
		}},
		{"user ended", func(w *world, at int, h *holder, _ streams.Kind) error {
			return w.operate(at, http.MethodPost, ath.AdminUserEndPath, api.UserEndRequest{User: h.user, Provider: h.provider})
		}},
	}
}

// scopeOf is the scope that covers an exchange of this kind.
func scopeOf(k streams.Kind) string {
	if k.Sends() {
		return "streams:write"
	}
	return "streams:read"
}

// deny takes one scope from an agent.
func (w *world) deny(at int, h *holder, scope string) error {
	return w.operate(at, http.MethodPost, ath.AdminAgentsPath+"/"+h.client+"/deny",
		api.DenyRequest{Providers: []api.RequestedProvider{{ID: h.provider, Scopes: []string{scope}}}, Reason: "Less will do."})
}
