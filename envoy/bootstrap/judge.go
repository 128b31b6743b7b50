package bootstrap

import (
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// authzSeconds is how long Envoy waits for a decision. athd's own deadline
// towards its store is well under it.
const authzSeconds = 1

// judge is the filter that asks athd about each request.
func (g *generator) judge() *hcmv3.HttpFilter {
	if g.config.ByExtProc {
		return g.filter(envoy.JudgeFilter, g.judging())
	}
	return g.filter(envoy.CheckFilter, g.check())
}

// judgeName is what routes call that filter.
func (g *generator) judgeName() string { return g.config.judgeName() }

func (c Config) judgeName() string {
	if c.ByExtProc {
		return envoy.JudgeFilter
	}
	return envoy.CheckFilter
}

// asked is a route's own word to that filter: where it leads.
func (g *generator) asked(extensions map[string]string) *anypb.Any {
	if !g.config.ByExtProc {
		return g.pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{
			CheckSettings: &extauthzv3.CheckSettings{ContextExtensions: extensions},
		}})
	}
	overrides := &extprocv3.ExtProcOverrides{}
	for _, e := range [...][2]string{
		{envoy.ExtProvider, envoy.StreamProvider}, {envoy.ExtMount, envoy.StreamMount},
		{envoy.ExtRuntime, envoy.StreamRuntime}, {envoy.ExtStream, envoy.StreamLimit},
	} {
		if value, said := extensions[e[0]]; said {
			overrides.GrpcInitialMetadata = append(overrides.GrpcInitialMetadata, &corev3.HeaderValue{Key: e[1], Value: value})
		}
	}
	return g.pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: overrides}})
}

// unasked takes that filter away.
func (g *generator) unasked() *anypb.Any {
	if g.config.ByExtProc {
		return g.pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Disabled{Disabled: true}})
	}
	return g.pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
}

// check asks athd, and lets the reply change no header but those that it has to.
func (g *generator) check() *extauthzv3.ExtAuthz {
	tell, hide := g.told()
	return &extauthzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		FailureModeAllow:    false,
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			Timeout:         seconds(authzSeconds),
			RetryPolicy:     g.asksAgain(),
			InitialMetadata: g.perTry(),
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: authzCluster},
			},
		}},
		// Raw: the other form joins headers of one name, and writes '!' for
		// what is not UTF-8, so that the path judged would not be the path sent.
		EncodeRawHeaders:  true,
		AllowedHeaders:    &matcherv3.ListStringMatcher{Patterns: tell},
		DisallowedHeaders: &matcherv3.ListStringMatcher{Patterns: hide},
		ValidateMutations: true,
		// An allow-list: "disallow_system" lets content-length through.
		DecoderHeaderMutationRules: &mutationv3.HeaderMutationRules{
			DisallowAll:     yes(),
			AllowExpression: &matcherv3.RegexMatcher{Regex: g.mayChange()},
			DisallowIsError: yes(),
		},
	}
}

// judging does the same by ext_proc. Envoy's defaults are what it rests on, too: a
// failure allows nothing, and athd cannot change which phases it is told of.
func (g *generator) judging() *extprocv3.ExternalProcessor {
	p := g.processor(authzCluster, envoy.RoleJudge)
	p.ProcessingMode = phases(extprocv3.ProcessingMode_SEND, extprocv3.ProcessingMode_SKIP, extprocv3.ProcessingMode_SKIP)
	tell, hide := g.told()
	p.ForwardRules = &extprocv3.HeaderForwardingRules{
		AllowedHeaders:    &matcherv3.ListStringMatcher{Patterns: append(tell, exact(envoy.HeaderAuthority))},
		DisallowedHeaders: &matcherv3.ListStringMatcher{Patterns: hide},
	}
	p.RequestAttributes = []string{"source.address"}
	p.MutationRules.AllowExpression = &matcherv3.RegexMatcher{Regex: g.mayChange()}
	// Where the guard looks, and the access log: whichever filter asked.
	p.MetadataOptions = &extprocv3.MetadataOptions{ReceivingNamespaces: ofDecision()}
	return p
}

// processor is what all of athd's ext_proc filters have in common.
func (g *generator) processor(cluster, role string) *extprocv3.ExternalProcessor {
	return &extprocv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{
			RetryPolicy:     g.asksAgain(),
			InitialMetadata: []*corev3.HeaderValue{{Key: envoy.StreamRole, Value: role}},
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
		},
		MessageTimeout:   seconds(authzSeconds),
		StatPrefix:       role,
		StatusOnError:    &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		RouteCacheAction: extprocv3.ExternalProcessor_RETAIN,
		MutationRules:    &mutationv3.HeaderMutationRules{DisallowAll: yes(), DisallowIsError: yes()},
	}
}

// phases are those of an exchange of which athd is told. Bodies never are.
func phases(request, reply, trailers extprocv3.ProcessingMode_HeaderSendMode) *extprocv3.ProcessingMode {
	return &extprocv3.ProcessingMode{
		RequestHeaderMode: request, ResponseHeaderMode: reply,
		RequestTrailerMode: extprocv3.ProcessingMode_SKIP, ResponseTrailerMode: trailers,
	}
}

// ofSecondTry is where athd says which token an API got when it was asked again.
func ofSecondTry() *extprocv3.MetadataOptions_MetadataNamespaces {
	return &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{envoy.SentNamespace}}
}

// ofDecision is where a decision's dynamic metadata stands.
func ofDecision() *extprocv3.MetadataOptions_MetadataNamespaces {
	return &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{envoy.MetaNamespace}}
}

// mayChange is a pattern for the headers that athd's reply sets or removes. Those
// of envoy.IdentityHeaders are among them, by a pattern that Envoy takes, which limits
// their size: so beginnings must do. X-Envoy-* is not, nor what says where a request comes from.
const (
	mayChange    = "^(authorization|cookie|(" + mayBeginWith + ")[!-~]*)$"
	mayBeginWith = mayBeginX + "|remote-|cf-a|ssl-|tails"
	mayBeginX    = "x-([cgpv]o|[ah]t|[mw]e|[msu]s|a[mu]|cl|or|re[mw]|forwarded-([aceigu]|prefe))"

	// mayLead is the same with :path and :authority, and no other that begins with a colon.
	mayLead = "^(cookie|(:p?a|authoriza|" + mayBeginWith + ")[!-~]*)$"

	// mayJudge is the rest of both by ext_proc, which has no other list for the headers
	// of a refusal: so content-type, cache-control, retry-after and www-authenticate.
	mayJudge = "auth|c(a|f|oo|ontent-t)|re[mt]|ssl|tai|www|" + mayBeginX + ")[!-~]*$"
)

// mayChange lets replies say where a request goes where there is a route that wants
// it. Envoy asks this of all routes alike: on any other, athd's reply never says it.
func (g *generator) mayChange() string {
	switch {
	case g.config.ByExtProc && g.config.RuntimeProviders:
		return "^(:p?a|" + mayJudge
	case g.config.ByExtProc:
		return "^(" + mayJudge
	case g.config.RuntimeProviders:
		return mayLead
	}
	return mayChange
}

// opensToPeople reports whether an app takes requests without an ATH token.
func (g *generator) opensToPeople() bool {
	return slices.ContainsFunc(g.config.Providers.Apps(), func(p *provider.Provider) bool { return p.App.Passthrough })
}

// told says which headers Envoy tells athd, and which of them not after all:
// those that the decision needs, and those in which people put a token by
// mistake, which athd refuses. To tell all of them would cost athd and Envoy a
// fifth more for each request.
func (g *generator) told() (tell, hide []*matcherv3.StringMatcher) {
	tell = []*matcherv3.StringMatcher{exact(":method"), exact(":path"), exact(envoy.HeaderUpgrade), exact("referer"), startsWith("x-")}
	// Headers that identify somebody: of an agent's request athd's reply removes
	// them. Those that begin with x- are told anyway.
	for _, p := range envoy.IdentityPlainPrefixes {
		tell = append(tell, startsWith(p))
	}
	for _, word := range []string{"auth", "token", "key", "secret", "session", "credential"} {
		tell = append(tell, contains(word)) // Authorization among them
	}
	// Envoy's own, which nobody else can send.
	hide = []*matcherv3.StringMatcher{startsWith("x-envoy-"), exact("x-request-id"), exact("x-forwarded-proto")}
	if g.config.TrustedHops == 0 {
		hide = append(hide, exact(envoy.HeaderForwardedFor))
	}
	if g.opensToPeople() {
		// Ours are cut out of people's cookies, which else are nobody's business.
		tell = append(tell, exact(envoy.HeaderCookie))
	}
	return tell, hide
}
