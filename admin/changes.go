package admin

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/tokenstore"
)

// What an operator changes is on record as it was and as it is afterwards (U-1):
// of both the members that differ.

// maxChange bounds each side of a change, in bytes. Agents choose how many scopes
// they ask for.
const maxChange = 8 << 10

// members are what is recorded of something, by name.
type members map[string]any

// stateOf is what operators decide about a registration.
func stateOf(a *tokenstore.Agent) members {
	m := members{"status": a.Standing()}
	if !a.ApprovalExpires.IsZero() {
		m["approval_expires"] = instant(a.ApprovalExpires)
	}
	for _, p := range a.Approvals {
		for name, list := range map[string]ath.Scopes{"approved": p.Approved, "pending": p.Pending, "denied": p.Denied} {
			if len(list) > 0 {
				m[p.Provider+" "+name] = list
			}
		}
		if p.DenialReason != "" {
			m[p.Provider+" denial_reason"] = p.DenialReason
		}
	}
	return m
}

// changes writes both sides of a change into an event. Either may be nil: there was
// nothing, or there is nothing any more.
func changes(e *audit.Event, before, after members) {
	if before != nil && after != nil {
		before, after = maps.Clone(before), maps.Clone(after)
		for name, was := range before {
			if is, there := after[name]; there && reflect.DeepEqual(was, is) {
				delete(before, name)
				delete(after, name)
			}
		}
	}
	e.Before, e.After = before.text(), after.text()
}

// text is JSON, or "" for nothing. What is too long for an event is named by
// its number.
func (m members) text() string {
	if m == nil {
		return ""
	}
	text := m.json()
	if len(text) <= maxChange {
		return text
	}
	short := members{}
	for name, value := range m {
		list, ok := value.(ath.Scopes)
		if !ok {
			short[name] = value
			continue
		}
		_, what, _ := strings.Cut(name, " ")
		n, _ := short[what].(int)
		short[what] = n + len(list)
	}
	if text = short.json(); len(text) > maxChange {
		text = members{"status": m["status"]}.json()
	}
	return text
}

func (m members) json() string {
	text, err := json.Marshal(m) // sorted by name
	if err != nil {
		return "{}" // texts and lists of them: cannot happen
	}
	return string(text)
}

// connectionBefore is what an operator ends. Whose it was stands beside it.
func connectionBefore(id string, i *tokenstore.ConnectionInfo) members {
	return members{"connection_id": id, "scopes": i.Scopes, "tokens": i.Tokens, "renewals": len(i.Standing)}
}

// suspensionOf is what is recorded of a host's mark; nil: there is none.
func suspensionOf(all []tokenstore.HostSuspension, hosts ath.HostPattern) members {
	i := slices.IndexFunc(all, func(s tokenstore.HostSuspension) bool { return s.Hosts == hosts })
	if i < 0 {
		return nil
	}
	return members{"suspended": true, "by": all[i].By, "since": instant(all[i].Since)}
}

// movesOfEvent are both sides of moved endpoints.
func movesOfEvent(e *audit.Event, moves []issuer.Move) {
	before, after := members{}, members{}
	for _, m := range moves {
		before[m.Endpoint], after[m.Endpoint] = m.From, m.To
	}
	changes(e, before, after)
}
