// Package revocation tells providers that users' grants are over (V-5): what ends
// a connection leaves its tokens, sealed, in a queue in Redis, and each athd takes
// from it what is due, one at a time, and calls the provider. Start at [New]; a
// [Policy] is what the store asks when a connection ends.
//
//	ended    the connection is gone, its record is in the queue and due
//	waits    revocation: last, and another connection of the user's is of the same
//	         OAuth client: at some servers it would end too
//	taken    somebody calls; if that athd dies it is due again a minute later
//	over     revoked, or no longer known there, or there is no way to
//
// What gets no answer, or one that is none, is tried again at growing pauses, and
// given up a day after it was first tried. What waits is made due by the end of the
// last of the others, and looked at each hour in case that was missed; it is
// dropped after 30 days.
package revocation
