// Package extauthz answers Envoy's checks (envoy.service.auth.v3).
//
// [Checks] turns a CheckRequest into a question of package envoy/exchange, and the
// answer into a CheckResponse. Code 0 of that reply means "allow" to Envoy, also when
// the rest of it is empty; so a reply says 0 for an answer that allows, and never
// otherwise.
package extauthz

import (
	"context"

	"github.com/athd/athd/envoy/exchange"
)

// Checks is the service that Envoy calls. It never returns an error: Envoy
// would answer that with a refusal of its own, which says less.
type Checks struct{ judge *exchange.Judge }

// New returns the service, for a server of package envoy/server.
func New(j *exchange.Judge) *Checks { return &Checks{j} }

// check answers one request.
func (c *Checks) check(ctx context.Context, request *attributes) message {
	a := c.judge.Answer(ctx, request.question)
	return encode(&a)
}

// question reads what arrived of a CheckRequest. It reports false where there is
// no HTTP request in it.
func (a *attributes) question(trustedHops int) (exchange.Question, bool) {
	if !a.http {
		return exchange.Question{}, false
	}
	head := exchange.NewHead()
	if a.raw {
		for _, h := range a.headers {
			head.Add(h.name, h.value)
		}
	} else {
		for name, value := range a.joined {
			head.Add(name, value)
		}
	}
	return head.Question(
		&exchange.Route{Provider: a.provider, Mount: a.mount, Stream: a.stream, Runtime: a.runtime},
		&exchange.Beside{
			Method: a.method, Path: a.path, Host: a.host, Peer: a.client, TrustedHops: trustedHops,
			Raw: a.raw, StrayToken: a.stray,
		}), true
}
