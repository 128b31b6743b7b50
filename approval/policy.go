package approval

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
	Rules   []Rule
}

// A Rule matches when each of its lists is empty or has something that
// matches.
type Rule struct {
	Agents     []Glob            // against the agent_id
	Hosts      []ath.HostPattern // against the host of the agent_id, whatever its path, query and port
	Developers []Glob            // against the developer id of the identity document: the agent's own words
	Providers  []Glob
	Scopes     []Glob
	Action     Action
	Expires    time.Duration // of what this rule approves; 0: DefaultApproval
}

// String is the rule in one line, for logs.
func (r Rule) String() string {
	text := string(r.Action)
	list := func(name string, n int, at func(int) string) {
		for i := range n {
			if i == 0 {
				text += " " + name + "="
			} else {
				text += ","
			}
			text += at(i)
		}
	}
	globs := func(name string, all []Glob) { list(name, len(all), func(i int) string { return all[i].text }) }
	globs("agents", r.Agents)
	list("hosts", len(r.Hosts), func(i int) string { return r.Hosts[i].String() })
	globs("developers", r.Developers)
	globs("providers", r.Providers)
	globs("scopes", r.Scopes)
	if r.Expires > 0 {
		text += " expires=" + ath.FormatDuration(r.Expires)
	}
	return text
}

// Check checks a policy once, before it is used.
func (p *Policy) Check() error {
	valid := func(a Action) bool { return a == Approve || a == Review || a == Deny }
	if !valid(p.Default) {
		return errors.New("approval: the policy's default action must be approve, review or deny")
	}
	for i, r := range p.Rules {
		if !valid(r.Action) || r.Expires < 0 {
			return fmt.Errorf("approval: rule %d of the policy has no valid action or expiry", i+1)
		}
		if !r.KnowsWhom() {
			return fmt.Errorf("approval: rule %d of the policy approves whoever writes a developer's id into a document", i+1)
		}
	}
	return nil
}

// KnowsWhom reports whether the rule may do what it does. A developer's id is
// what an agent writes into its own document, and any agent can write any: a
// rule that approves by it must also say at which hosts that document may be.
func (r *Rule) KnowsWhom() bool {
	if r.Action != Approve || len(r.Developers) == 0 || len(r.Hosts) > 0 {
		return true
	}
	return len(r.Agents) > 0 && !slices.ContainsFunc(r.Agents, func(g Glob) bool { return !g.namesHost() })
}

// About returns the policy for one agent: agent and developer are what they
// are for every scope, and matching a pattern is dear.
func (p *Policy) About(agent ath.AgentID, developer string) *Policy {
	return p.where(func(r *Rule) bool {
		return anyMatch(r.Agents, agent.String()) && r.hasHost(agent.Host()) && anyMatch(r.Developers, developer)
	})
}

// At returns the policy for one provider. A rule may name it by any of its
// names.
func (p *Policy) At(names []string) *Policy {
	return p.where(func(r *Rule) bool {
		return len(r.Providers) == 0 || slices.ContainsFunc(names, func(name string) bool { return anyMatch(r.Providers, name) })
	})
}

// where returns the policy of which only the rules that apply are left.
func (p *Policy) where(applies func(*Rule) bool) *Policy {
	out := &Policy{Default: p.Default}
	for i := range p.Rules {
		if applies(&p.Rules[i]) {
			out.Rules = append(out.Rules, p.Rules[i])
		}
	}
	return out
}

// Judge decides about one scope, and for how long, by what [Policy.About] and
// [Policy.At] left.
func (p *Policy) Judge(scope string) (Action, time.Duration) {
	for _, r := range p.Rules {
		if anyMatch(r.Scopes, scope) {
			if r.Expires > 0 {
				return r.Action, r.Expires
			}
			return r.Action, DefaultApproval
		}
	}
	return p.Default, DefaultApproval
}

// Denies returns the policy of which only the rules are left that apply to an agent
// at a provider of these names, for what holds of approvals that stand: what a rule
// leaves to an operator, or the default does, was decided when they were given. It is
// nil where nothing can be denied.
func (p *Policy) Denies(agent ath.AgentID, developer string, names []string) *Policy {
	out := p.About(agent, developer).At(names)
	out.Default = Approve
	if !out.MayDeny() {
		return nil
	}
	return out
}

// MayDeny reports whether a rule of the policy denies.
func (p *Policy) MayDeny() bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Action == Deny })
}

// Denied returns those of the scopes that the policy denies; a nil one denies none.
func (p *Policy) Denied(scopes ath.Scopes) ath.Scopes {
	if p == nil {
		return nil
	}
	var out ath.Scopes
	for _, s := range scopes {
		if action, _ := p.Judge(s); action == Deny {
			out = append(out, s)
		}
	}
	return out
}

func (r *Rule) hasHost(h ath.Host) bool {
	return len(r.Hosts) == 0 || slices.ContainsFunc(r.Hosts, func(p ath.HostPattern) bool { return p.Match(h) })
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
type Glob struct {
	text  string
	parts []globPart
}

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
	g := Glob{text: s}
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

// namesHost reports whether what matches, if it is an agent_id, is at one host
// or below one name: the scheme and the host's end are written out.
func (g Glob) namesHost() bool {
	_, rest, found := strings.Cut(g.text, "://")
	scheme := strings.TrimSuffix(g.text, "://"+rest)
	host, _, _ := strings.Cut(rest, "/")
	host = strings.TrimSuffix(host, ":*")
	_, err := ath.ParseHostPattern(host)
	if h, err2 := ath.ParseHost(host); err2 == nil && !h.IsZero() {
		err = nil // with a port
	}
	return found && (scheme == "https" || scheme == "http") && err == nil
}

func matchParts(parts []globPart, s string) bool {
	first, last := parts[0].literal, parts[len(parts)-1].literal
	if !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false // nearly all that does not match
	}
	if len(parts) == 1 {
		return s == first
	}
	// reach[i] says that the parts so far can end at byte i. Quadratic at
	// worst, whatever the pattern.
	both := make([]bool, 2*(len(s)+1))
	reach, next := both[:len(s)+1], both[len(s)+1:]
	reach[len(first)] = true
	for _, p := range parts[1:] {
		clear(next)
		open := false
		for i := 0; i <= len(s); i++ {
			if i > 0 && p.wild == '*' && strings.IndexByte("/?:", s[i-1]) >= 0 {
				open = false
			}
			open = open || reach[i]
			if open && strings.HasPrefix(s[i:], p.literal) {
				next[i+len(p.literal)] = true
			}
		}
		reach, next = next, reach
	}
	return reach[len(s)]
}
