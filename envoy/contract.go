// Package envoy is the contract between athd and Envoy: what the generated
// configuration, the answers to checks, and the verifier of a running Envoy must
// name alike. It speaks no protocol itself.
//
//	agent ─▶ route ─▶ ext_authz ─▶ guard ─▶ header mutation ─▶ API
//	                   │     ▲      wants ath_allow and provider
//	                   ▼     │
//	                 athd (envoy/extauthz)
//
// In the place of ext_authz there can be ext_proc (envoy/extproc), which can also be
// behind the guard, to hear of the rest of an exchange.
//
// Package envoy/bootstrap writes the configuration, envoy/extauthz and envoy/extproc
// answer by package envoy/exchange on the server of envoy/server, and envoy/verify
// reads what a running Envoy is configured with.
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
	// MetaHost is the host to which an allow on the run-time route sends the
	// request, with its port unless that is https' own: the guard there wants
	// :authority to be the same text. On no other reply.
	MetaHost = "ath_host"
	// MetaUpstream beside MetaHost says that the API is spoken to without TLS, by
	// its one value UpstreamHTTP. It is metadata and no header, so that no client
	// can say it.
	MetaUpstream = "ath_upstream"
	UpstreamHTTP = "http"
	// MetaHeld is what the roles that see the rest of an exchange must know of its
	// decision, as one text without secrets. Only where something reads it.
	MetaHeld = "ath_held"
	// MetaRetry beside MetaHeld is true on an allow for a provider whose 401s are
	// looked into: the filters in front of its API want it.
	MetaRetry = "ath_retry"
	// MetaNamespace is what all of these stand under, whichever filter asked: so
	// that guards, access logs and those who read them know one form.
	MetaNamespace = CheckFilter

	// MetaSent recognizes the token of a second try, by which an API's reply is
	// checked, too. It stands under SentNamespace, the only one that HealFilter may
	// write: what is behind the guard writes nothing that a guard reads.
	MetaSent      = "ath_sent"
	SentNamespace = HealFilter
)

// Names of the context extensions by which a route tells where it leads. They
// come from Envoy's configuration; a client cannot set them.
const (
	ExtProvider = "ath_provider" // the provider's id
	ExtStream   = "ath_stream"   // the header in which the route takes how long a stream may last; absent: none
	ExtMount    = "ath_mount"    // the prefix above the provider's API, with both slashes; absent in native mode
	// ExtRuntime is "true" on the route of the providers that came while athd runs,
	// which names neither provider nor mount: athd finds the provider by the path,
	// and its allow says where the request goes. On no other route may a reply
	// set :path, :authority, MetaHost or MetaUpstream.
	ExtRuntime = "ath_runtime"
)

// gRPC metadata of ext_proc's streams, by which a filter of the configuration
// says what it asks of athd. No client can set any. The four of a route have the
// values of the context extensions above, for RoleJudge.
const (
	StreamRole     = "x-ath-role" // absent: RoleJudge
	StreamProvider = "x-ath-provider"
	StreamMount    = "x-ath-mount"
	StreamRuntime  = "x-ath-runtime"
	StreamLimit    = "x-ath-stream" // ExtStream's
)

// The roles of a stream of ext_proc.
const (
	RoleJudge = "judge" // in the place of ext_authz
	RoleWatch = "watch" // ends an exchange whose grant ends
	RoleReply = "reply" // reads the head of an API's reply to an agent
	RoleRetry = "retry" // in front of an API: an API's 401, and the second try
)

// Names of the HTTP filters by which a request is judged, and an API's reply
// cleared of what only athd says; of a cluster, of athd's gRPC service, and of
// what Envoy may send again.
const (
	CheckFilter   = "envoy.filters.http.ext_authz"
	GuardFilter   = "envoy.filters.http.rbac"
	RepliesFilter = "athd.replies" // of each API's cluster

	// The filters that ask athd by ext_proc: JudgeFilter stands where CheckFilter
	// would. WatchFilter and ReplyFilter stand behind the guard, and wrap their
	// ext_proc into a matcher; the watch has one for exchanges whose request is long,
	// of its own name, and one for the others. HealFilter is of clusters.
	JudgeFilter      = "athd.judge"
	WatchFilter      = "athd.watch"
	WatchReplyFilter = "athd.watch_reply"
	ReplyFilter      = "athd.reply"
	// ReplyTrailersFilter is of the same, and opens a stream only where a reply has
	// trailers: the one for heads is not open until the reply is over, and so does not
	// end it when athd goes.
	ReplyTrailersFilter = "athd.reply_trailers"
	// CookiesFilter takes cookies out of what an API that is open to people sets to
	// an agent, beside JudgeFilter: which is not told of replies, as CheckFilter has no
	// need to be.
	CookiesFilter  = "athd.cookies"
	HealFilter     = "athd.heal"
	HealTellFilter = "athd.heal_tell" // what HealFilter is of a 401
	HealMarkFilter = "athd.heal_mark"

	// Of the run-time providers: their route, which no provider of a file can take
	// the name of, and their cluster; the filter that chooses how their APIs are
	// spoken to, the one that looks up their hosts, and the one of the cluster that
	// admits the addresses that may be connected to.
	RuntimeRoute    = "proxy_runtime"
	RuntimeCluster  = "athd_runtime"
	TransportFilter = "athd.transport"
	LookupFilter    = "envoy.filters.http.dynamic_forward_proxy"
	EgressFilter    = "athd.egress"

	CompanionCluster = "athd_companion"
	CheckService     = "envoy.service.auth.v3.Authorization"
	ProcessService   = "envoy.service.ext_proc.v3.ExternalProcessor"
	// StreamsCluster is athd once more, for all roles but RoleJudge: with
	// connections and circuit breakers of its own, so that streams that stay open
	// never keep a decision waiting.
	StreamsCluster = "athd_streams"

	// RetryMarked is of calls whose reply has HeaderRetry.
	RetryMarked = "retriable-headers"
	// RetryUnsent is of requests that cannot have arrived.
	RetryUnsent = "connect-failure,refused-stream,reset-before-request"
)

// Names of headers. What begins with HeaderPrefix is athd's own.
const (
	HeaderAuthorization = "authorization"
	HeaderAgentID       = "x-ath-agent-id"
	HeaderCookie        = "cookie"
	HeaderSetCookie     = "set-cookie"
	HeaderUpgrade       = "upgrade"
	HeaderPrefer        = "prefer"
	HeaderPrefix        = "x-ath-"
	HeaderDecisionID    = "x-ath-decision-id" // of replies
	HeaderRetry         = "x-ath-retry"       // of an API's 401, for Envoy's retry policy; agents never see it
	HeaderForwardedFor  = "x-forwarded-for"
	HeaderPath          = ":path"
	HeaderAuthority     = ":authority"
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
