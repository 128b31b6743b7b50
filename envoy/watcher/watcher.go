// Package watcher has a role of athd in Envoy's exchanges, envoy.RoleWatch: it takes
// what an agent was allowed under watch (package watch), from the first message that it
// hears of it until it is over, and ends it in between.
//
// What it must know stands in the metadata of the decision, which no client can set.
// Where that is not there, or is not athd's, the exchange is ended: nobody knows what
// it holds. What people send (passthrough), and what is for athd itself, holds nothing,
// and is let go at once.
package watcher

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/watch"
)

// A Watcher has the role.
type Watcher struct{ Registry *watch.Registry }

// Open is of [exchange.Role].
func (w Watcher) Open(s *exchange.Stream) exchange.Hearing {
	return &watched{registry: w.Registry, exchange: s}
}

// watched is one exchange.
type watched struct {
	registry *watch.Registry
	exchange *exchange.Stream
	heard    bool
	stream   *watch.Stream // nil: nothing is under watch
}

var (
	errUnjudged = errors.New("the request's metadata has no decision that allows it: is the filter behind the check, and does it forward " + envoy.MetaNamespace + "?")
	errHeld     = errors.New("the decision does not say what the call holds")
)

// unknown refuses what is not known to hold anything, also where streams outlive athd
// and Envoy lets failures pass. Envoy says it in its own words.
var unknown = &exchange.Refusal{Status: http.StatusServiceUnavailable, Details: "ath_unwatched"}

// Hear is of [exchange.Hearing].
func (w *watched) Hear(ctx context.Context, m *exchange.Message) (exchange.Reply, error) {
	if !w.heard {
		w.heard = true
		if refusal, err := w.begin(ctx, m); err != nil || refusal != nil {
			return exchange.Reply{Refusal: refusal}, err
		}
	}
	if m.Phase == exchange.ResponseTrailers || m.Phase == exchange.ResponseHeaders && m.Last {
		w.Close() // the API has said everything
	}
	return exchange.Reply{}, nil
}

// Close is of [exchange.Hearing].
func (w *watched) Close() {
	if w.stream != nil {
		w.stream.Close()
	}
}

func (w *watched) begin(ctx context.Context, m *exchange.Message) (*exchange.Refusal, error) {
	said := m.Metadata
	if said[envoy.MetaAllow] != "true" || said[envoy.MetaDecision] == "" {
		return unknown, errUnjudged
	}
	switch authz.Reason(said[envoy.MetaReason]) {
	case authz.PassedThrough, authz.Companion:
		w.exchange.End(nil)
		return nil, nil
	case authz.Allowed:
	default:
		return unknown, errUnjudged
	}
	held, err := authz.ParseHeld(said[envoy.MetaHeld])
	if err != nil || held.Agent != said[envoy.MetaAgent] || held.Scope != said[envoy.MetaScope] {
		return unknown, errHeld
	}
	decision := said[envoy.MetaDecision]
	w.stream, err = w.registry.Begin(ctx, watch.Call{Held: held, Decision: decision, Ended: func(why watch.Reason) {
		if why == watch.Released {
			w.exchange.End(nil)
			return
		}
		w.exchange.End(answer(&watch.Refusal{Reason: why, Decision: decision}))
	}})
	if why, refused := errors.AsType[*watch.Refusal](err); refused {
		return answer(why), nil
	}
	return nil, err
}

// answer is what the agent gets where the API has not begun to answer; else Envoy
// resets the exchange.
func answer(why *watch.Refusal) *exchange.Refusal {
	e := why.Reply()
	r := &exchange.Refusal{Status: e.Status(), Body: string(e.Body()), Details: "ath_" + string(why.Reason), Headers: [][2]string{
		{"content-type", "application/json"},
		{"cache-control", "no-store"},
		{envoy.HeaderDecisionID, why.Decision}, // P-9
	}}
	if after := why.RetryAfter(); after > 0 {
		r.Headers = append(r.Headers, [2]string{"retry-after", strconv.Itoa(after)})
	}
	switch {
	case r.Status == http.StatusUnauthorized:
		r.Headers = append(r.Headers, [2]string{"www-authenticate", `Bearer realm="ath", error="invalid_token"`})
	case e.Code == ath.ScopeNotApproved:
		r.Headers = append(r.Headers, [2]string{"www-authenticate", `Bearer realm="ath", error="insufficient_scope"`})
	}
	return r
}
