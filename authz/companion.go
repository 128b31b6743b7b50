package authz

import (
	"slices"

	"github.com/athd/athd/ath"
)

// companionAnswers lets pass what athd answers itself, where a mesh asks about
// every request: the generated configuration does not ask about these paths.
// No route names a provider for them, the rules above have found the target
// canonical, and nothing that Envoy sends with the check looks like an ATH token. None
// belongs there, so that one that is on its way to the wrong place stops here.
func (q *evaluation) companionAnswers() Reason {
	if !q.forCompanion() {
		return ""
	}
	if q.holdsAnyToken() || slices.ContainsFunc(q.request.AgentID, holdsToken) {
		return ""
	}
	return Companion
}

// forCompanion: of a target that is canonical.
func (q *evaluation) forCompanion() bool {
	if !q.ByHost || q.request.Provider != "" || q.request.Runtime {
		return false
	}
	row, ok := q.companionPath()
	return ok && q.onItsOrigin(row)
}

// onItsOrigin wants the consent pages on their own host alone, where they have
// one, and nothing else there. A callback is on both: athd leads on from the
// one to the other.
func (q *evaluation) onItsOrigin(row ath.Path) bool {
	if q.ConsentHost.IsZero() {
		return true
	}
	on := ath.OnPublic
	if ath.RequestedHost(q.request.Host) == q.ConsentHost {
		on = ath.OnConsent
	}
	return row.On&on != 0
}

// companionPath returns the row of a path that Envoy leads to athd itself. The
// generated configuration has the same paths as a pattern.
func companionPath(path string, callbackPerProvider bool) (ath.Path, bool) {
	row, ok := ath.FindPath(path)
	if !ok || !row.Companion() || row.PerProvider && !callbackPerProvider && path != row.Path {
		return ath.Path{}, false
	}
	return row, true
}

// companionPath is of the request's path as it is written, canonical or not.
func (q *evaluation) companionPath() (ath.Path, bool) {
	return companionPath(withoutQuery(q.request.Path), q.CallbackPerProvider)
}

func (q *evaluation) describeCompanion() string {
	row, ok := q.companionPath()
	switch {
	case !ok:
		return "not a path that athd answers itself"
	case !q.ByHost:
		return "a path that athd answers itself; Envoy's routes let it past the check"
	case !q.onItsOrigin(row):
		return "a path that athd answers itself, on another host"
	case q.request.Provider != "" || q.request.Runtime:
		return "a path that athd answers itself, but the route leads to a provider"
	case q.holdsAnyToken():
		return "a path that athd answers itself, but something in the request looks like an ATH token"
	}
	return "a path that athd answers itself, and nothing in the request looks like an ATH token"
}
