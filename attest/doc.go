// Package attest verifies that an agent is who it claims to be: [Verifier.Verify]
// checks an attestation, a JWT that the agent signs with the key which it
// publishes at its agent_id URL (rules ).
//
// Everything about an attestation is the agent's: the JWT, the URL, the host
// behind it, its DNS, its certificate, its document. So what is cheap comes
// first, nothing is fetched that an unverified claim names, and the fetch
// (fetch.go, package egress) treats every URL as an attempt at SSRF: no private
// address is ever connected to, whatever a name resolves to (DNS rebinding), no
// redirect is followed, and every step has a limit and a deadline. A jti counts
// once, so that a replayed attestation is refused.
//
//	compact ─▶ form, claims, times, audience ─▶ cached document ─▶ signature ─▶ sub ─▶ jti, once
//	                                             ▲        └─ mismatch: past the cache, once a minute
//	                                           fetch
package attest
