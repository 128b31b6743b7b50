package config

import (
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/provider"
)

// lives reads how long tokens and sessions live, and how users are asked.
func (l *loader) lives() {
	l.s.TokenTTL = l.ttl(l.c.Tokens.TTL, athflow.MaxTokenTTL, "1h", "tokens", "ttl")
	l.s.SessionTTL = l.ttl(l.c.Sessions.TTL, athflow.MaxSessionTTL, "10m", "sessions", "ttl")
	if l.s.Consent = l.c.Consent; l.s.Consent == "" {
		l.s.Consent = athflow.ConsentPage
	}
	switch l.s.Consent {
	case athflow.ConsentPage, athflow.ConsentRedirect:
	case athflow.ConsentDirect:
		l.warn("consent is direct: nothing binds the user's browser to the authorization (Z-3)")
	default:
		l.Fail("want page, redirect or direct", "consent")
	}
	l.s.Renewal = l.c.Tokens.Renewal.Terms(ath.RenewalTerms{}, l.s.TokenTTL, func(message string, member ...any) {
		l.Fail(message, append([]any{"tokens", "renewal"}, member...)...)
	})
}

// renewals warns of what keeps agents from getting a renewal, or users' consents
// from standing (T-8).
func (l *loader) renewals(set *provider.Set) {
	var on, alone []string
	for _, p := range set.All() {
		if p.Renewal.IsZero() {
			continue
		}
		on = append(on, p.ID)
		if p.Refresh.Off {
			alone = append(alone, p.ID)
		}
	}
	switch {
	case len(on) > 0 && l.s.Consent != athflow.ConsentPage:
		l.warn("consent is %s: no agent gets a renewal (tokens.renewal, renewal of %s), since no page tells users how long", l.s.Consent, strings.Join(on, ", "))
	case len(alone) > 0:
		l.warn("refresh is false for %s: an agent's renewal is of no use there once the user's token has ended", strings.Join(alone, ", "))
	}
	if len(on) > 0 && l.s.Operator.Contact.IsZero() {
		l.warn("operator.contact is not set: a user who wants to end what an agent may do is told nobody to ask")
	}
}

// ttl is the longest one allowed unless a shorter one is given: at least a
// second, which is what expires_in counts in.
func (l *loader) ttl(s string, longest time.Duration, spelled string, path ...any) time.Duration {
	if s == "" {
		return longest
	}
	d, err := ath.ParseDuration(s)
	switch {
	case err != nil:
		l.Fail(err.Error(), path...)
	case d > longest:
		l.Fail("want at most "+spelled, path...)
	case d < time.Second:
		l.Fail("want at least 1s", path...)
	}
	return d
}
