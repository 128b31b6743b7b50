// Package authz answers one question: may this request pass, and with which
// credential?
//
// [Decider.Decide] takes a [Request] as Envoy saw it and returns a [Decision].
// It returns no error: whatever goes wrong is a refusal with a [Reason] of its
// own, and the zero Decision refuses. The rules are a list that is read from
// top to bottom ([Decider.rules]); the first that objects decides. One round
// trip to the store, at most, fetches all that they look at.
//
//	Request → target → token → read (store) → standing → provider → scope → credential → Decision
package authz
