package athflow

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

// An Action is what the policy does with a scope that an agent asks for.
type Action string

// The actions. The zero Action denies.
const (
	Approve Action = "approve"
	Review  Action = "review"
	Deny    Action = "deny"
)

// DefaultApproval is how long an approval holds where no rule says.
const DefaultApproval = 90 * 24 * time.Hour

// A Policy is the operator's word on registrations: the first rule that
// matches a scope decides, else the default.
type Policy struct {
	Default Action
	Rules   []PolicyRule
}

// A PolicyRule matches when each of its lists is empty or has a glob that
// matches.
type PolicyRule struct {
	Agents     []Glob // against the agent_id
	Developers []Glob // against the developer id of the verified identity document
	Providers  []Glob
	Scopes     []Glob
	Action     Action
	Expires    time.Duration // of what this rule approves; 0: DefaultApproval
}

func (p *Policy) check() error {
	valid := func(a Action) bool { return a == Approve || a == Review || a == Deny }
	if !valid(p.Default) {
		return errors.New("athflow: the policy's default action must be approve, review or deny")
	}
	for i, r := range p.Rules {
		if !valid(r.Action) || r.Expires < 0 {
			return fmt.Errorf("athflow: rule %d of the policy has no valid action or expiry", i+1)
		}
	}
	return nil
}

// judge decides about one scope, and for how long. A rule may name the provider
// by any of its names.
func (p *Policy) judge(agent ath.AgentID, developer string, provider []string, scope string) (Action, time.Duration) {
	for _, r := range p.Rules {
		if anyMatch(r.Agents, agent.String()) && anyMatch(r.Developers, developer) &&
			(len(r.Providers) == 0 || slices.ContainsFunc(provider, func(name string) bool { return anyMatch(r.Providers, name) })) && anyMatch(r.Scopes, scope) {
			if r.Expires > 0 {
				return r.Action, r.Expires
			}
			return r.Action, DefaultApproval
		}
	}
	return p.Default, DefaultApproval
}

func anyMatch(globs []Glob, s string) bool {
	if len(globs) == 0 {
		return true
	}
	for _, g := range globs {
		if g.Match(s) {
			return true
		}
	}
	return false
}

// A Glob matches agent ids, developers, providers and scopes. `*` stands for
// any run of characters but '/', '?' and ':'; `**` for any run at all; a glob
// that is `*` alone matches everything. So `https://*.example.com/**` is
// every agent below example.com, and cannot be read as a longer host, a query
// or a port of somebody else's. The zero Glob matches nothing.
type Glob struct{ parts []globPart }

type globPart struct {
	literal string
	wild    byte // what stands before the literal: 0 nothing, '*' a run within limits, 'A' any run
}

const maxGlobBytes = 512

// ParseGlob checks a glob.
func ParseGlob(s string) (Glob, error) {
	switch {
	case s == "":
		return Glob{}, errors.New("a pattern is empty")
	case len(s) > maxGlobBytes:
		return Glob{}, fmt.Errorf("a pattern is longer than %d bytes", maxGlobBytes)
	case strings.Contains(s, "***"):
		return Glob{}, errors.New("a pattern holds more than two '*' in a row")
	case strings.Count(s, "*") > 16:
		return Glob{}, errors.New("a pattern holds more than 16 '*'")
	case s == "*":
		s = "**"
	}
	var g Glob
	part := globPart{}
	for i := 0; i < len(s); i++ {
		if s[i] != '*' {
			part.literal += s[i : i+1]
			continue
		}
		g.parts = append(g.parts, part)
		part = globPart{wild: '*'}
		if i+1 < len(s) && s[i+1] == '*' {
			part.wild = 'A'
			i++
		}
	}
	g.parts = append(g.parts, part)
	return g, nil
}

// Match reports whether the whole of s matches.
func (g Glob) Match(s string) bool { return len(g.parts) > 0 && matchParts(g.parts, s) }

func matchParts(parts []globPart, s string) bool {
	// reach[i] says that the parts so far can end at byte i. Quadratic at
	// worst, whatever the pattern.
	reach := make([]bool, len(s)+1)
	reach[0] = true
	for _, p := range parts {
		next := make([]bool, len(s)+1)
		open := false
		for i := 0; i <= len(s); i++ {
			if i > 0 && p.wild == '*' && strings.IndexByte("/?:", s[i-1]) >= 0 {
				open = false
			}
			if p.wild == 0 {
				open = false
			}
			open = open || reach[i]
			if open && strings.HasPrefix(s[i:], p.literal) {
				next[i+len(p.literal)] = true
			}
		}
		reach = next
	}
	return reach[len(s)]
}
