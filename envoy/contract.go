// Package envoy is the contract between athd and Envoy: what the generated
// configuration, the answers to checks, and the verifier of a running Envoy must
// name alike. It speaks no protocol itself.
//
//	agent ─▶ route ─▶ ext_authz ─▶ guard ─▶ header mutation ─▶ API
//	                   │     ▲      wants ath_allow and provider
//	                   ▼     │
//	                 athd (envoy/extauthz)
//
// Package envoy/bootstrap writes the configuration, envoy/extauthz answers the
// checks, and envoy/verify reads what a running Envoy is configured with.
package envoy

// Keys of the dynamic metadata that a reply sets, under the name of the
// ext_authz filter. The guard in the configuration wants the first two.
const (
	MetaAllow    = "ath_allow" // true on an allow; not there on a refusal
	MetaProvider = "provider"  // that the route leads to
	MetaDecision = "decision_id"
	MetaReason   = "reason"
	MetaAgent    = "agent" // of the token's grant, once it was read
	MetaScope    = "scope" // on an allow
)

// Names of the context extensions by which a route tells where it leads. They
// come from Envoy's configuration; a client cannot set them.
const (
	ExtProvider = "ath_provider" // the provider's id
	ExtStream   = "ath_stream"   // the header in which the route takes how long a stream may last; absent: none
	ExtMount    = "ath_mount"    // the prefix above the provider's API, with both slashes; absent in native mode
)

// Names of the HTTP filters by which a request is judged, of a cluster, of
// athd's gRPC service, and of what Envoy may send again.
const (
	CheckFilter = "envoy.filters.http.ext_authz"
	GuardFilter = "envoy.filters.http.rbac"

	CompanionCluster = "athd_companion"
	CheckService     = "envoy.service.auth.v3.Authorization"

	// RetryUnsent is of requests that cannot have arrived.
	RetryUnsent = "connect-failure,refused-stream,reset-before-request"
)

// Names of headers. What begins with HeaderPrefix is athd's own.
const (
	HeaderAuthorization = "authorization"
	HeaderAgentID       = "x-ath-agent-id"
	HeaderCookie        = "cookie"
	HeaderUpgrade       = "upgrade"
	HeaderPrefix        = "x-ath-"
	HeaderDecisionID    = "x-ath-decision-id" // of replies
	HeaderForwardedFor  = "x-forwarded-for"
)

// Headers of an allow reply that say, in milliseconds, how long the exchange may
// last. The router obeys the second, for streams and WebSockets too, and takes
// it away. The generated routes make it of the first, behind the check: so a
// reply needs no more rights than over x-ath-*.
const (
	HeaderStream      = "x-ath-stream-ms"
	HeaderStreamEnvoy = "x-envoy-upstream-stream-duration-ms"
)

// OverrideHeaders are those by which some servers take another method or path
// than those of the request line, which are what is judged. None of an agent's
// goes up (P-4, P-7).
var OverrideHeaders = [...]string{
	"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url",
}

// IdentityHeaders and IdentityPrefixes are those by which proxies that log people in tell an API who somebody is. An
// API that stands behind such a proxy believes them of whoever sends them: none
// of an agent's goes up. Those of people on an app that is open to them do: what
// is in front of Envoy may have set them.
var (
	IdentityHeaders = [...]string{
		"x-remote-user", "x-remote-email", "x-remote-groups", "remote-user", "remote-email", "remote-groups", "remote-name",
		"x-client-cert", "x-client-verify", "x-user", "x-user-id", "x-user-email", "x-webauth-user", "x-consumer-username",
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-access-token", "x-forwarded-id-token",
		"x-forwarded-preferred-username", "x-forwarded-client-cert",
	}
	IdentityPrefixes = [...]string{
		"x-auth-request-", "x-authenticated-", "x-authentik-", "x-vouch-", "x-pomerium-", "x-goog-authenticated-", "x-goog-iap-",
		"x-amzn-oidc-", "x-ms-client-principal", "x-ms-token-", "cf-access-", "ssl-client-", "x-ssl-client-", "tailscale-user-",
	}
	// IdentityPlainPrefixes are what those that do not begin with x- begin with.
	IdentityPlainPrefixes = [...]string{"remote-", "cf-access-", "ssl-client-", "tailscale-user-"}
)
