// Package watch ends what outlives its token: a stream, a WebSocket, a long upload or
// download, which was allowed once and goes on.
//
// [Registry.Begin] takes a call under watch, and judges it again, so that nothing is
// missed between the decision and the watch. From then on the call is judged again
// whenever the change feed, another configuration or other providers concern it
// ([authz.Decider.Holds]), once a minute in any case, and it ends with its token. A
// call may be watched by another replica than the one that judged it: all that is
// known of it is in [authz.Held].
//
//	change feed ─┐
//	providers  ──┼─▶ index ─▶ queue ─▶ Holds ─▶ Stream.Ended
//	policy     ──┘                       ▲
//	               Begin ────────────────┘
//
// It fails closed: where nobody can be asked for five seconds, streams end, unless
// they are to be kept ([Config].Keep); and nothing is taken under watch unless the
// change feed is followed.
package watch
