package audit

import (
	"strconv"

	"github.com/athd/athd/ath"
)

// A field is one member of an event's line. It has one getter: text, list or
// flag.
type field struct {
	name     string
	text     func(*Event) string
	list     func(*Event) ath.Scopes
	flag     func(*Event) bool
	optional bool   // left out where it is empty, as a flag always is
	meaning  string // in docs/monitoring.md
}

// fields are what a line holds behind its times, in this order: in JSON, in
// text, and in the table of docs/monitoring.md.
var fields = []field{
	{name: "event", text: func(e *Event) string { return string(e.Kind) },
		meaning: "What happened, see below."},
	{name: "agent_id", text: func(e *Event) string { return e.AgentID },
		meaning: "Whose request it was; empty where nobody knows yet."},
	{name: "user_id", text: func(e *Event) string { return e.UserID },
		meaning: "The user at the provider."},
	{name: "provider_id", text: func(e *Event) string { return e.ProviderID },
		meaning: "The provider or app."},
	{name: "requested_scopes", list: func(e *Event) ath.Scopes { return e.Requested },
		meaning: "What was asked for."},
	{name: "effective_scopes", list: func(e *Event) ath.Scopes { return e.Effective },
		meaning: "What the agent has afterwards."},
	{name: "denied_scopes", list: func(e *Event) ath.Scopes { return e.Denied },
		meaning: "What it was refused."},
	{name: "denial_reason", text: func(e *Event) string { return e.Reason },
		meaning: "Why a request was refused, or a connection ended; of a refresh that an API's 401 caused, `rejected_by_api`; empty otherwise, and for an operator's action, whose reason `athctl agents show` has."},
	{name: "decision_id", text: func(e *Event) string { return e.DecisionID },
		meaning: "Also in the agent's refusal (`details.decision_id`) and in Envoy's access log (`decision`)."},
	{name: "host", optional: true, text: func(e *Event) string { return e.Host },
		meaning: "Of an operator's action on all agents of a host: its name, or `*.` and the name above."},
	{name: "record", optional: true, text: func(e *Event) string { return e.Record },
		meaning: "Of a record that does not open: its key in Redis, without digests."},
	{name: "keys", optional: true, text: func(e *Event) string { return e.Keys },
		meaning: "Of a keyset that an athd has taken: the ids of its keys, the one that seals first."},
	{name: "before", optional: true, text: func(e *Event) string { return e.Before },
		meaning: "Of an operator's change of a configuration, a registration, a host or what users allowed: what was there, as JSON, with digests in place of secrets. Of a change only the members that differ. Not there where there was nothing."},
	{name: "after", optional: true, text: func(e *Event) string { return e.After },
		meaning: "What is there now. Not there where there is nothing any more."},
	{name: "by", optional: true, text: func(e *Event) string { return e.By },
		meaning: "Of an operator's action, of the `provider_drained` that follows from one, and of what one was refused: the name of the admin token."},
	{name: "by_role", optional: true, text: func(e *Event) string { return e.Role },
		meaning: "That operator's [role](operations.md#operators-and-their-roles) when it acted. Not there of `provider_drained`, which athd does later, and of a token that has expired."},
	{name: "client_address", optional: true, text: func(e *Event) string { return e.Client },
		meaning: "Where the request came from, as Envoy said: of handshakes, operators' actions and refusals. Not there where Envoy did not say."},
	{name: "upstream_error", optional: true, text: func(e *Event) string { return e.Upstream },
		meaning: "What the provider's OAuth server said that ended a handshake or a connection: its error code and description, its HTTP status, the two issuers that differ. Bounded and printable. Not there where it said nothing."},
	{name: "headers", optional: true, text: func(e *Event) string { return e.Headers },
		meaning: "Of `credential_echoed`: the names of the reply's headers that held the user's token."},
	{name: "count", optional: true, text: func(e *Event) string { return count(e.Count) },
		meaning: "Of refusals in a flood. Within a minute 600 of one address and reason are written as they are; one event at its end says how many more there were, and `decision_id` is that of the last. Whose grant was known (but for `rate_limited` and `too_many_streams`, where 600 of each are written), or who had an admin token, always has an event of its own."},
	{name: "renewal", flag: func(e *Event) bool { return e.Renewal },
		meaning: "`true` where a standing consent is used: of `access_granted`, that the user was not asked again; of a refusal, that this was tried; of `token_revoked`, that the consent itself was ended, and all tokens that came of it."},
	{name: "derived_rule", flag: func(e *Event) bool { return e.Derived },
		meaning: "`true` where a call passed by a rule that nobody wrote down, but that was derived from a scope's name."},
}

func count(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}
