package config

import (
	"slices"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/strict"
)

// admin reads the operators' tokens and keeps their digests.
func (l *loader) admin() {
	if p := l.c.Admin.Public; p != nil && !*p {
		l.s.AdminPrivate = true
		if l.s.Admin != (Address{}) && !l.s.Admin.Private() {
			l.warn("listen.admin is %s and operators use it (admin.public: false): their tokens are readable on their way, unless that network is nobody else's", l.s.Admin)
		}
	}
	names, digests := map[string]bool{}, map[ath.Digest]bool{}
	for i, t := range l.c.Admin.Tokens {
		at := func(key string) []any { return []any{"admin", "tokens", i, key} }
		if l.Required(t.Name, at("name")...) {
			if names[t.Name] {
				l.Fail("is taken: every token has a name of its own", at("name")...)
			}
			if err := checkLine(t.Name); err != nil {
				l.Fail(err.Error(), at("name")...)
			}
			names[t.Name] = true
		}
		if !l.Required(t.TokenFile, at("token_file")...) {
			continue
		}
		if l.s.AdminTokenFile == "" {
			l.s.AdminTokenFile = l.resolve(t.TokenFile)
		}
		token, ok := l.readSecretFile(t.TokenFile, at("token_file")...)
		if !ok {
			continue
		}
		digest := ath.DigestOf(token.Reveal())
		earlier, err := checkAdminToken(token.Reveal())
		switch {
		case err != nil:
			l.Fail(err.Error(), at("token_file")...)
		case digests[digest]:
			l.Fail("the file holds the same token as another one", at("token_file")...)
		case earlier:
			l.warn("%s: the token in the file was made by an earlier version and holds 16 random bytes: replace it by 32, such as openssl rand -base64 32 prints", strict.Label(at("token_file")...))
		}
		digests[digest] = true
		l.s.AdminTokens = append(l.s.AdminTokens, httpapi.AdminToken{Name: t.Name, Digest: digest})
	}
}

// approval reads the operator's word on registrations.
func (l *loader) approval() {
	c := &l.c.Approval
	if l.Required(c.Default, "approval", "default") {
		l.s.Policy.Default = l.action(c.Default, "approval", "default")
	}
	for i, r := range c.Rules {
		at := func(key string) []any { return []any{"approval", "rules", i, key} }
		rule := approval.Rule{
			Agents:     l.globs(r.Agents, at("agents")),
			Hosts:      l.hostPatterns(r.Hosts, at("hosts")),
			Developers: l.globs(r.Developers, at("developers")),
			Providers:  l.globs(r.Providers, at("providers")),
			Scopes:     l.globs(r.Scopes, at("scopes")),
		}
		if l.Required(r.Action, at("action")...) {
			rule.Action = l.action(r.Action, at("action")...)
		}
		if r.Expires != "" {
			var err error
			if rule.Expires, err = ath.ParseDuration(r.Expires); err != nil {
				l.Fail(err.Error(), at("expires")...)
			} else if rule.Action != approval.Approve && rule.Action != approval.Review {
				l.Fail("is for rules that approve or review", at("expires")...)
			}
		}
		if !rule.KnowsWhom() {
			l.Fail("a developer's id is what the agent itself writes into its document, so that this rule approves whoever writes it: "+
				"name the agents' hosts too (hosts: [agents.example.com]), or let an operator look (action: review)", at("developers")...)
		}
		l.s.Policy.Rules = append(l.s.Policy.Rules, rule)
	}
}

func (l *loader) action(s string, path ...any) approval.Action {
	a := approval.Action(s)
	if !slices.Contains([]approval.Action{approval.Approve, approval.Review, approval.Deny}, a) {
		l.Fail("want approve, review or deny", path...)
		return ""
	}
	return a
}

func (l *loader) globs(list []string, path []any) []approval.Glob {
	var out []approval.Glob
	for i, s := range list {
		g, err := approval.ParseGlob(s)
		if err != nil {
			l.Fail(err.Error(), slices.Concat(path, []any{i})...)
		}
		out = append(out, g)
	}
	l.notEmpty(list, path)
	return out
}

func (l *loader) hostPatterns(list []string, path []any) []ath.HostPattern {
	var out []ath.HostPattern
	for i, s := range list {
		p, err := ath.ParseHostPattern(s)
		if err != nil {
			l.Fail("want a host, or *. and a name for all hosts below it: "+err.Error(), slices.Concat(path, []any{i})...)
			continue
		}
		out = append(out, p)
	}
	l.notEmpty(list, path)
	return out
}

// notEmpty: as it stands an empty list would match everything; somebody who
// empties one may well mean nothing.
func (l *loader) notEmpty(list []string, path []any) {
	if list != nil && len(list) == 0 {
		l.Fail("is an empty list: leave it out to match everything", path...)
	}
}

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
