// Package admin is the operator's API below /ath/admin (O-1, R-6): operators
// list, show, approve, deny, suspend, resume and remove registrations, suspend
// hosts, see and end what users allowed, see the providers, and ask how a call
// would be judged.
//
// [New] returns an [API]. [API.Handler] serves it on a listener that only
// operators reach; [API.Routes] are for the listener of the handshake, where
// operators use that. The steps touch no HTTP. Requests and replies are those
// of package api.
package admin
