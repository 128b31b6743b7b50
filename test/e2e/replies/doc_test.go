// Package replies is about what APIs answer to agents, and how often they are called:
// two athd on one Redis, each behind an Envoy of its own, and APIs that echo users'
// tokens, set cookies and link to themselves.
package replies
