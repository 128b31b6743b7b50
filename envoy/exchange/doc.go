// Package exchange is what all of Envoy's filters that ask athd have in common,
// whatever protocol they speak: the head of a request becomes an [authz.Request],
// and an [authz.Decision] becomes what is set, removed and said, or the refusal.
//
//	Head ─▶ Question ─▶ authz.Decision ─▶ Answer
//
// It is plain data: packages envoy/extauthz and envoy/extproc read and write the
// messages.
package exchange
