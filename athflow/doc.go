// Package athflow runs the handshake by which an agent gets an ATH token: the
// HTTP companion beside Envoy's checks. Each step is a function that moves one stored record on; steps never call each
// other, so any replica can take the next one.
//
//	register  → Agent                                    POST /ath/agents/register
//	authorize → Session{started}                         POST /ath/authorize
//	start     → nothing but a cookie                     GET  /ath/consent/start
//	decide    → nothing, or Session{refused}             POST /ath/consent/decide
//	callback  → Session{redeeming → consented}, Connection  GET /ath/callback
//	token     → Grant, Session{consumed}                 POST /ath/token
//	revoke    → Grant{revoked}                           POST /ath/revoke
//	showOwn, removeOwn → nothing, or no Agent            GET, DELETE /ath/agents/{client_id}
//
// Operators read and change an Agent below /ath/admin/agents: list, show,
// approve, deny, suspend, resume, remove. Below /ath/admin they also see the
// providers, and ask how a call would be judged: whoever builds a Flow brings
// who can answer that, since the handshake judges no calls.
//
// [New] returns a [Flow], [Flow.Handler] serves it. serveJSON and servePage
// touch HTTP; the steps do not.
package athflow
