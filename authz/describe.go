package authz

import (
	"fmt"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

// What each rule looked at, for an operator who asks for an explanation. None of
// it contains a token or the user's credential.

func (q *evaluation) describePeople() string {
	switch p := q.provider; {
	case p == nil || p.App == nil:
		return "not an app"
	case !p.App.Passthrough:
		return "the app wants an ATH token of everybody"
	case q.holdsAnyToken():
		return "the app is open to people, but something in the request looks like an ATH token"
	}
	return "the app is open to people, and nothing in the request looks like an ATH token"
}

func (q *evaluation) describeMethod() string { return quoted(q.request.Method) }

func (q *evaluation) describeTarget() string {
	if q.request.Mount == "" {
		return quoted(withoutQuery(q.request.Path))
	}
	return quoted(withoutQuery(q.request.Path)) + ", mounted at " + quoted(q.request.Mount)
}

func (q *evaluation) describeQuery() string {
	if q.query == "" {
		return "no query"
	}
	return fmt.Sprintf("a query of %d bytes", len(q.query))
}

func (q *evaluation) describeToken() string {
	switch n := len(q.request.Authorization); {
	case n == 0:
		return "no Authorization header"
	case n > 1:
		return fmt.Sprintf("%d Authorization headers", n)
	case q.token == (ath.Token{}):
		return "an Authorization header without one well-formed ATH token"
	}
	return "an ATH token with the tag " + string(q.token.Tag())
}

func (q *evaluation) describeRead() string {
	var there []string
	if q.reading.Grant != nil {
		there = append(there, "grant")
	}
	if q.reading.Connection != nil {
		there = append(there, "connection")
	}
	if q.reading.Agent != nil {
		there = append(there, "registration")
	}
	if len(there) == 0 {
		return "nothing read"
	}
	return "read: " + strings.Join(there, ", ")
}

func (q *evaluation) describeGrant() string {
	g := q.reading.Grant
	if g == nil {
		return "no grant has this token"
	}
	return fmt.Sprintf("a grant of user %s to agent %s for %s: %s", quoted(g.User), quoted(g.Agent), g.Provider, scopeList(g.Scopes))
}

func (q *evaluation) describeRevoked() string {
	if t := q.reading.Grant.Revoked; !t.IsZero() {
		return "revoked at " + moment(t)
	}
	return "not revoked"
}

func (q *evaluation) describeExpiry() string { return q.until(q.reading.Grant.Expires) }

func (q *evaluation) describeAgentID() string {
	if n := len(q.request.AgentID); n != 1 {
		return fmt.Sprintf("%d X-ATH-Agent-ID headers", n)
	}
	return "X-ATH-Agent-ID " + quoted(q.request.AgentID[0])
}

func (q *evaluation) describeAgent() string {
	if q.reading.Agent == nil {
		return "no registration"
	}
	return "registered as " + q.reading.Agent.ClientID
}

func (q *evaluation) describeStanding() string { return string(q.reading.Agent.Standing()) }

func (q *evaluation) describeGeneration() string {
	return fmt.Sprintf("token of generation %d, agent at %d", q.reading.Grant.Generation, q.reading.Agent.Generation)
}

func (q *evaluation) describeApproval() string { return q.until(q.reading.Agent.ApprovalExpires) }

func (q *evaluation) describeProvider() string {
	if q.provider == nil {
		return "the route leads to no provider that is configured"
	}
	return q.provider.ID
}

func (q *evaluation) describeProviders() string {
	return fmt.Sprintf("the route leads to %s, the token is for %s", q.provider.ID, q.reading.Grant.Provider)
}

func (q *evaluation) describeScope() string {
	if q.scope != "" {
		text := "covered by " + q.scope
		if near := q.provider.NearMisses(q.request.Method, q.segments, ath.Scopes{q.scope}, 1); len(near) > 0 {
			text += ": " + strings.Join(near[0].Rule.Methods, ",") + " " + strings.Join(near[0].Rule.Paths, ", ")
		}
		return text
	}
	if q.denied != "" {
		return fmt.Sprintf("covered by %s, which a rule of approval.rules denies to this agent", q.denied)
	}
	return fmt.Sprintf("%s %s is not covered by %s", q.request.Method, quoted("/"+strings.Join(q.segments, "/")), scopeList(q.decision.Scopes))
}

func (q *evaluation) describeUpgrade() string {
	switch n := len(q.request.Upgrade); {
	case n == 0:
		return "no other protocol is asked for"
	case n > 1:
		return fmt.Sprintf("%d Upgrade headers", n)
	case q.upgradeAllowed() != "":
		return quoted(q.request.Upgrade[0]) + " is asked for, which no rule of " + scopeList(q.decision.Scopes) + " allows here"
	}
	return "a WebSocket, which " + q.scope + " allows here"
}

func (q *evaluation) describeCredential() string {
	switch c := q.reading.Connection; {
	case c == nil:
		return "no upstream connection"
	case c.Ended:
		return "the provider has ended the upstream connection" + q.describeHealing()
	case c.Access.IsZero():
		return "the upstream connection holds no access token" + q.describeHealing()
	}
	return "the user's access token is there"
}

func (q *evaluation) describeDestination() string {
	if q.credentialMatchesDestination() != "" {
		return "the user agreed to another token, userinfo or revocation endpoint, client or API host than is configured now"
	}
	return "token endpoint, client and API host are those that the user agreed to"
}

func (q *evaluation) describeCredentialExpiry() string {
	said := q.describeCredentialTimes()
	if q.credentialNotExpired() == ReauthorizationRequired {
		said += q.describeHealing()
	}
	return said
}

func (q *evaluation) describeCredentialTimes() string {
	c := q.reading.Connection
	said := q.until(c.Expires)
	switch {
	case c.Expires.IsZero() || q.Renewer == nil:
		return said
	case !c.RefreshStatus.Refused.IsZero():
		return said + "; the provider refused to refresh it at " + moment(c.RefreshStatus.Refused) + ": " + c.RefreshStatus.RefusedFor
	case q.provider.Refreshable(c.Refresh) && c.RefreshStatus.Over(q.now):
		return said + "; the refresh token ended at " + moment(c.RefreshStatus.RefreshExpires)
	case q.provider.Refreshable(c.Refresh):
		return said + "; a call refreshes it"
	case c.Refresh.IsZero():
		return said + "; there is no refresh token"
	}
	return said + "; refresh is off for this provider"
}

func (q *evaluation) until(t time.Time) string {
	switch {
	case t.IsZero():
		return "no known end"
	case q.now.Before(t):
		return "until " + moment(t)
	}
	return "ended at " + moment(t)
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func scopeList(s ath.Scopes) string {
	if len(s) == 0 {
		return "no scope"
	}
	return strings.Join(s, ", ")
}

// quoted bounds what a client wrote, and shows odd bytes as what they are. It
// shows no token that stands where none belongs.
func quoted(s string) string {
	const limit = 200
	if holdsToken(s) {
		return "[something like a token]"
	}
	if len(s) > limit {
		return fmt.Sprintf("%+q…", s[:limit])
	}
	return fmt.Sprintf("%+q", s)
}

func withoutQuery(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}
