// Package api defines the JSON bodies of ATH v0.1 as athd speaks it: one Go
// type per request and reply, which server, client and command line share, so
// that a member has one name everywhere.
//
//	POST /ath/agents/register     [RegisterRequest]   [RegisterReply]
//	GET  /ath/agents/{client_id}                      [Registration]
//	DEL  /ath/agents/{client_id}                      [RemoveReply]
//	POST /ath/authorize           [AuthorizeRequest]  [AuthorizeReply]
//	POST /ath/token               [TokenRequest]      [TokenReply]
//	POST /ath/revoke              [RevokeRequest]     [RevokeReply]
//	GET  /.well-known/ath.json                        [Gateway]
//	GET  /.well-known/ath-app.json                    [App]
//
// The types only carry: what a server accepts is checked where it is used. Bearer
// values are of type [Secret], which prints as redacted and is encoded whole.
package api
