// Package envoy is all that speaks Envoy's protocols, and the only importer of
// grpc and go-control-plane.
//
// [Server] answers Envoy's ext_authz calls: it turns a CheckRequest into an
// [authz.Request], asks for a decision, and turns the decision into a
// CheckResponse. Code 0 of that reply means "allow" to Envoy, also when the
// rest of it is empty; so replies are built in one place, which refuses
// unless a decision allows.
//
// [Bootstrap] writes the configuration of the Envoy that asks. It puts a
// second lock behind ext_authz: a role-based access filter that admits only
// requests which carry the metadata of our allow reply for the provider that
// the route leads to. A check that was skipped, failed or said nothing opens
// nothing.
// [Verify] holds what a running Envoy is configured with against all that.
//
//	agent ─▶ route ─▶ ext_authz ─▶ guard ─▶ hygiene ─▶ API
//	                   │     ▲      wants ath_allow and provider
//	                   ▼     │
//	                 Server.Check
package envoy
