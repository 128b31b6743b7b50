package config

import (
	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
)

// agents reads the agents whose keys the operator pins: they publish no
// identity document, and none is ever fetched for them.
func (l *loader) agents() {
	seen := map[string]bool{}
	for i, a := range l.c.Agents {
		at := func(keys ...any) []any { return append([]any{"agents", i}, keys...) }
		p := attest.Pinned{Name: a.Name, Developer: attest.Developer{Name: a.Developer.Name, ID: a.Developer.ID}}
		if l.Required(a.AgentID, at("agent_id")...) {
			var err error
			if p.Agent, err = ath.ParseAgentID(a.AgentID, l.c.Development.AllowHTTP); err != nil {
				l.Fail("want an https URL, as agents name themselves; nothing needs to be there: "+err.Error(), at("agent_id")...)
			} else if seen[a.AgentID] {
				l.Fail("is taken: each agent is pinned once", at("agent_id")...)
			}
			seen[a.AgentID] = true
		}
		for _, text := range []struct {
			value string
			path  []any
		}{{a.Name, at("name")}, {a.Developer.Name, at("developer", "name")}, {a.Developer.ID, at("developer", "id")}} {
			if l.Required(text.value, text.path...) {
				if err := attest.CheckName(text.value); err != nil {
					l.Fail(err.Error(), text.path...)
				}
			}
		}
		if l.Required(a.PublicKeyFile, at("public_key_file")...) {
			if data, ok := l.readFile(a.PublicKeyFile, publicFile, at("public_key_file")...); ok {
				var err error
				if p.Key, err = attest.ParsePublicKey(data); err != nil {
					l.Fail("want a P-256 public key, as a PEM block PUBLIC KEY or a JWK: "+err.Error(), at("public_key_file")...)
				}
			}
		}
		l.s.Pinned = append(l.s.Pinned, p)
	}
}
