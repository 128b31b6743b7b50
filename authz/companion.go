package authz

import (
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// companionAnswers lets pass what athd answers itself, where a mesh asks about
// every request: the generated configuration does not ask about these paths.
// No route names a provider for them, the rules above have found the target
// canonical, and nothing that a check is told of looks like an ATH token. None
// belongs there, so that one that is on its way to the wrong place stops here.
func (q *inquiry) companionAnswers() Reason {
	if !q.forCompanion() {
		return ""
	}
	if q.holdsAnyToken() || slices.ContainsFunc(q.request.AgentID, holdsToken) {
		return ""
	}
	return Companion
}

// forCompanion: of a target that is canonical.
func (q *inquiry) forCompanion() bool {
	return q.ByHost && q.request.Provider == "" && isCompanion(q.segments, q.CallbackPerProvider) && q.consentKeptApart()
}

// consentKeptApart wants the consent pages on their own host alone, where they
// have one, and nothing else there. A callback is on both: athd leads on from
// the one to the other.
func (q *inquiry) consentKeptApart() bool {
	if q.ConsentHost.IsZero() || q.segments[1] == "callback" {
		return true
	}
	return (q.segments[1] == "consent") == (ath.RequestedHost(q.request.Host) == q.ConsentHost)
}

// isCompanion reports whether segments are those of a path that athd answers
// itself. The generated configuration has the same paths as a pattern.
func isCompanion(segments []string, callbackPerProvider bool) bool {
	switch {
	case len(segments) < 2:
		return false
	case segments[0] == ".well-known":
		return len(segments) == 2 && slices.Contains([]string{"ath.json", "ath-app.json"}, segments[1])
	case segments[0] != "ath":
		return false
	case len(segments) == 3 && segments[1] == "callback":
		return callbackPerProvider && segments[2] != ""
	case len(segments) == 2:
		return slices.Contains([]string{"authorize", "callback", "token", "revoke"}, segments[1])
	}
	return slices.Contains([]string{"agents", "consent", "admin"}, segments[1])
}

// pathSegments cuts a target's path as it is written, canonical or not.
func pathSegments(target string) []string {
	return strings.Split(strings.TrimPrefix(withoutQuery(target), "/"), "/")
}

func (q *inquiry) tellCompanion() string {
	switch {
	case !isCompanion(q.segments, q.CallbackPerProvider):
		return "not a path that athd answers itself"
	case !q.ByHost:
		return "a path that athd answers itself; Envoy's routes let it past the check"
	case !q.consentKeptApart():
		return "a path that athd answers itself, on another host"
	case q.request.Provider != "":
		return "a path that athd answers itself, but the route leads to a provider"
	case q.holdsAnyToken():
		return "a path that athd answers itself, but something in the request looks like an ATH token"
	}
	return "a path that athd answers itself, and nothing in the request looks like an ATH token"
}
