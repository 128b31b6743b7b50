// Package athflow runs the handshake by which an agent gets an ATH token: the
// HTTP companion beside Envoy's checks. Each step is a function that moves one
// stored record on; steps never call each other, so any replica can take the
// next one.
//
//	register  → Agent                                    POST /ath/agents/register
//	authorize → Session{started}                         POST /ath/authorize
//	start     → nothing but a cookie                     GET  /ath/consent/start
//	decide    → nothing, or Session{refused}             POST /ath/consent/decide
//	callback  → Session{redeeming → consented}, Connection  GET /ath/callback
//	token     → Grant, Session{consumed}                 POST /ath/token
//	revoke    → Grant{revoked}                           POST /ath/revoke
//	openHealing → nothing but a cookie                   GET  /ath/heal/{handle}
//	decideHealing → Session{heals, started}, or refused  POST /ath/heal/{handle}; its callback → Connection
//	showOwn, removeOwn → nothing, or no Agent            GET, DELETE /ath/agents/{client_id}
//
// Which scopes are approved is the policy's to say (package approval), or an
// operator's (package admin), whose API a [Flow] serves beside its own routes
// where it is told to.
//
// [New] returns a Flow, [Flow.Handler] serves it. Package httpapi turns steps
// into handlers, servePage those that answer a browser; the steps touch no
// HTTP.
package athflow
