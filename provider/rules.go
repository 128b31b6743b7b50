package provider

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
)

// A Rule is a scope rule: it says which requests a scope covers. Paths are relative to the API's
// base. A path starts with '/'; its segments are literal, "*" (exactly one
// segment, not an empty one) or, at the end only, "**" (any number of
// segments, none too). "/" is the base itself. Literals are written as a
// canonical request writes them: percent-encoded only where a path segment
// cannot hold the character, in upper-case hex.
//
// Rules come from [Parse] and [AppConfig.Provider]; one that was put together
// otherwise matches nothing.
type Rule struct {
	Scope   string
	Methods []string // GET covers HEAD too
	Upgrade []string // protocols that the request may ask to switch to: "websocket" or none
	Origin  string   // where it is from: [OriginScopeRules], [OriginPreset] or [OriginDerived]
	Paths   []string // of a derived rule: for people to read, e.g. "/**/products/**"

	patterns []pattern
	anywhere string // of a derived rule: the segment that the path must hold
}

// Where a rule is from. What is written in scope_rules wins over a preset, and
// a preset over what scopes' names derive.
const (
	OriginScopeRules = "scope_rules"
	OriginPreset     = "preset"
	OriginDerived    = "derived"
)

// A pattern is a path of a rule, cut into segments.
type pattern struct {
	segments []string
	rest     bool // ended with **
}

// Permits reports whether one of the held scopes covers the request (P-4),
// and which: the first that does. path is the request's path below the API's
// base, cut into canonical segments that are still percent-encoded; the base
// itself has none, and a trailing slash shows as an empty last one.
//
// What no rule covers is not permitted.
func (p *Provider) Permits(method string, path []string, scopes ath.Scopes) (scope string, ok bool) {
	if p == nil {
		return "", false
	}
	for _, held := range scopes {
		for i := range p.Rules {
			if p.Rules[i].Scope == held && held != "" && p.Rules[i].matches(method, path) {
				return held, true
			}
		}
	}
	return "", false
}

// RulesOf is a fingerprint of the rules of one scope: another one where a rule was
// added, changed or removed, or stands in another place among them. 0: there is no rule.
func (p *Provider) RulesOf(scope string) uint64 {
	if p == nil || scope == "" {
		return 0
	}
	sum, some := fnv.New64a(), false
	write := func(parts ...string) {
		for _, part := range parts {
			sum.Write([]byte(part))
			sum.Write([]byte{0})
		}
		sum.Write([]byte{1})
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Scope != scope {
			continue
		}
		some = true
		write(r.Methods...)
		write(r.Upgrade...)
		write(r.anywhere)
		for _, path := range r.patterns {
			write(path.segments...)
			write(strconv.FormatBool(path.rest))
		}
		sum.Write([]byte{2})
	}
	if !some {
		return 0
	}
	return max(1, sum.Sum64())
}

// WebSocket is the only protocol that a rule can let a request switch to.
const WebSocket = "websocket"

// PermitsUpgrade is [Provider.Permits] for a request that asks to switch to
// WebSocket (RFC 6455), after which nothing of it is checked: only a rule with that
// upgrade covers it.
func (p *Provider) PermitsUpgrade(method string, path []string, scopes ath.Scopes) (scope string, ok bool) {
	if p == nil {
		return "", false
	}
	for _, held := range scopes {
		for i := range p.Rules {
			r := &p.Rules[i]
			if r.Scope == held && held != "" && slices.Contains(r.Upgrade, WebSocket) && r.matches(method, path) {
				return held, true
			}
		}
	}
	return "", false
}

// Upgrades reports whether some rule lets requests switch protocols.
func (p *Provider) Upgrades() bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return len(r.Upgrade) > 0 })
}

func (r *Rule) matches(method string, path []string) bool {
	return r.coversMethod(method) && r.coversPath(path)
}

func (r *Rule) coversMethod(method string) bool {
	return slices.Contains(r.Methods, method) || method == "HEAD" && slices.Contains(r.Methods, "GET")
}

func (r *Rule) coversPath(path []string) bool {
	if r.anywhere != "" && slices.Contains(path, r.anywhere) {
		return true
	}
	return slices.ContainsFunc(r.patterns, func(p pattern) bool { return p.matches(path) })
}

func (p pattern) matches(path []string) bool {
	if len(path) < len(p.segments) || len(path) > len(p.segments) && !p.rest {
		return false
	}
	for i, want := range p.segments {
		if path[i] != want && (want != "*" || path[i] == "") {
			return false
		}
	}
	return true
}

// rule checks one entry of scope_rules and compiles it.
func (c *check) rule(of *Provider, i int, e ruleEntry) Rule {
	r := Rule{Scope: e.Scope, Methods: e.Methods, Upgrade: e.Upgrade, Paths: e.Paths, Origin: OriginScopeRules}
	switch {
	case e.Scope == "":
		c.fail("scope_rules", "scope is missing", i)
	case !of.Scopes.Has(e.Scope):
		c.fail("scope_rules", "is not one of available_scopes", i, "scope")
	}
	if len(e.Methods) == 0 {
		c.fail("scope_rules", "methods are missing", i)
	}
	for j, m := range e.Methods {
		if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, m) {
			c.fail("scope_rules", "want GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS", i, "methods", j)
		}
	}
	for j, protocol := range e.Upgrade {
		if protocol != WebSocket {
			c.fail("scope_rules", "want websocket: no other protocol is let through", i, "upgrade", j)
		} else if !slices.Contains(e.Methods, "GET") {
			c.fail("scope_rules", "a WebSocket is asked for by GET, which is not among the methods", i, "upgrade", j)
		}
	}
	if len(e.Paths) == 0 {
		c.fail("scope_rules", "paths are missing", i)
	}
	for j, path := range e.Paths {
		if p, ok := compile(path, of.Encodable()); ok {
			r.patterns = append(r.patterns, p)
		} else {
			c.fail("scope_rules", "want a path such as /a, /a/*/b or /a/**: literal segments in canonical form, * for one, ** at the end only", i, "paths", j)
		}
	}
	return r
}

func compile(path string, may ath.Encodable) (pattern, bool) {
	if path == "/" {
		return pattern{}, true
	}
	head, rest := strings.CutSuffix(path, "/**")
	if rest && head == "" {
		return pattern{rest: true}, true
	}
	if len(path) > 2048 || !canonicalPath(head, may) {
		return pattern{}, false
	}
	segments := strings.Split(head[1:], "/")
	if slices.ContainsFunc(segments, func(s string) bool { return s != "*" && strings.Contains(s, "*") }) {
		return pattern{}, false // "a*" and "**" in the middle mean something elsewhere; here they would never match
	}
	return pattern{segments, rest}, true
}

// canonicalPath reports whether s is '/' and canonical segments, with no
// slash at its end: whether a request that is accepted (P-7) can have it. A
// rule that no request can match is a mistake, and is reported. "%2F" and its
// like are canonical only for a provider that allows them.
func canonicalPath(s string, may ath.Encodable) bool {
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return false
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if !may.Canonical(segment) {
			return false
		}
	}
	return true
}
