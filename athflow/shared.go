package athflow

import "errors"

// Why what a user has just allowed is not shared by the user's agents (grants:
// per_user), and so not used.
var (
	errUserNotProven = errors.New("grants: per_user: neither a verified ID token nor userinfo said who the user is")
	errGrantsChanged = errors.New("grants was changed since the authorization began: the provider was asked for more scopes than the agent's own")
)

// unshared is what agent and user are told of such an error; "": it is another one.
func unshared(err error) string {
	switch {
	case errors.Is(err, errUserNotProven):
		return "The authorization server did not say who the user is."
	case errors.Is(err, errGrantsChanged):
		return "The provider's configuration has changed."
	}
	return ""
}
