// Package authz answers one question: may this request pass, and with which
// credential?
//
// [Decider.Decide] takes a [Request] as Envoy saw it and returns a [Decision].
// It returns no error: whatever goes wrong is a refusal with a [Reason] of its
// own, and the zero Decision refuses: authz fails closed. The rules are a list
// that is read from top to bottom, in rules.go; the first that does not hold
// decides. They read the store once, in one round trip, or not at all.
//
//	Request → target → token → read (store) → standing → provider → scope → credential → Decision
package authz
