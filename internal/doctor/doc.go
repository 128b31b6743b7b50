// Package doctor asks everything that a working athd needs, one subject after
// the other: its configuration, Redis, athd itself, Envoy, the public and the
// consent URL, providers, clocks, and what waits for operators. [Run] says of
// each what it asked, what it found, and where that is wrong the cause and the
// cure.
//
// It changes nothing, but for a key in Redis that it deletes at once (see
// tokenstore.Examine). It sends no user anywhere, and no secret to anybody but
// Redis and athd. What others say is bounded and made printable.
package doctor
