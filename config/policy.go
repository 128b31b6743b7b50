package config

import (
	"slices"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
)

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
