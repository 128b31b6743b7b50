package verifyenvoy

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
)

// JudgeMutations are ways to break a configuration in which ext_proc judges.
func JudgeMutations() []Mutation {
	return slices.Concat(ofJudgesWord(), ofTheJudge(), ofJudgedRoutes(), ofTheChainOfTheJudge())
}

// judging edits the filter that judges.
func judging(change func(*extprocv3.ExternalProcessor)) func(*Config) {
	return func(c *Config) {
		c.Filter(envoy.JudgeFilter, func(f *hcmv3.HttpFilter) { edit(f.GetTypedConfig(), &extprocv3.ExternalProcessor{}, change) })
	}
}

// judgedOn edits what the route to the provider says to it.
func judgedOn(change func(*extprocv3.ExtProcOverrides)) func(*Config) {
	return onProvider(func(r *routev3.Route) {
		edit(r.TypedPerFilterConfig[envoy.JudgeFilter], &extprocv3.ExtProcPerRoute{}, func(p *extprocv3.ExtProcPerRoute) { change(p.GetOverrides()) })
	})
}

// saying changes what a route tells athd by gRPC metadata.
func saying(key, value string) func(*routev3.Route) {
	return func(r *routev3.Route) {
		edit(r.TypedPerFilterConfig[envoy.JudgeFilter], &extprocv3.ExtProcPerRoute{}, func(p *extprocv3.ExtProcPerRoute) {
			said := &p.GetOverrides().GrpcInitialMetadata
			*said = slices.DeleteFunc(*said, func(h *corev3.HeaderValue) bool { return h.Key == key })
			if value != "" {
				*said = append(*said, &corev3.HeaderValue{Key: key, Value: value})
			}
		})
	}
}

// ofJudgesWord take the force from athd's answers.
func ofJudgesWord() []Mutation {
	return []Mutation{
		{Name: "failure_mode_allow", Do: judging(func(p *extprocv3.ExternalProcessor) { p.FailureModeAllow = true }), Finds: []string{"failure_mode_allow lets requests through"}},
		{Name: "failure_mode_allow on a route", Do: judgedOn(func(o *extprocv3.ExtProcOverrides) { o.FailureModeAllow = wrapperspb.Bool(true) }), Finds: []string{"failure_mode_allow lets requests through"}},
		{Name: "observability_mode", Do: judging(func(p *extprocv3.ExternalProcessor) { p.ObservabilityMode = true }), Finds: []string{"observability_mode asks athd and does not wait"}},
		{Name: "refusals dropped", Do: judging(func(p *extprocv3.ExternalProcessor) { p.DisableImmediateResponse = true }), Finds: []string{"disable_immediate_response drops athd's refusals"}},
		{Name: "allow_mode_override", Do: judging(func(p *extprocv3.ExternalProcessor) { p.AllowModeOverride = true }), Finds: []string{"allow_mode_override lets an answer say"}},
		{Name: "the route chosen again", Do: judging(func(p *extprocv3.ExternalProcessor) { p.RouteCacheAction = extprocv3.ExternalProcessor_CLEAR }), Finds: []string{"the route is chosen again after the check"}},
		{Name: "the route chosen again if the answer wants it", Do: judging(func(p *extprocv3.ExternalProcessor) { p.RouteCacheAction = extprocv3.ExternalProcessor_DEFAULT }), Finds: []string{"an answer may have the route chosen again"}},
		{Name: "no rules for changes", Do: judging(func(p *extprocv3.ExternalProcessor) { p.MutationRules = nil }), Finds: []string{"a reply may change any header"}},
		{Name: "the path may change", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.MutationRules = &mutationv3.HeaderMutationRules{DisallowIsError: wrapperspb.Bool(true), AllowExpression: pattern(".*")}
		}), Finds: []string{"a reply may change"}},
		{Name: "authorization may not change", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.MutationRules.DisallowExpression = pattern("authorization")
		}), Finds: []string{`athd's reply may not change "authorization"`}},
		{Name: "half an answer is done", Do: judging(func(p *extprocv3.ExternalProcessor) { p.MutationRules.DisallowIsError = nil }), Finds: []string{"a request goes on half changed"}},
		{Name: "athd's yes is not written down", Do: judging(func(p *extprocv3.ExternalProcessor) { p.MetadataOptions = nil }), Finds: []string{"athd's yes is not written down"}},
		{Name: "athd's yes is written down elsewhere on a route", Do: judgedOn(func(o *extprocv3.ExtProcOverrides) {
			o.MetadataOptions = &extprocv3.MetadataOptions{ReceivingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{"other"}}}
		}), Finds: []string{"athd's yes is not written down"}},
	}
}

// ofTheJudge are of what athd is asked, where and for how long.
func ofTheJudge() []Mutation {
	return []Mutation{
		{Name: "heads are skipped", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.RequestHeaderMode = extprocv3.ProcessingMode_SKIP
		}), Finds: []string{"it does not ask about the head"}},
		{Name: "heads are skipped on a route", Do: judgedOn(func(o *extprocv3.ExtProcOverrides) {
			o.ProcessingMode = &extprocv3.ProcessingMode{RequestHeaderMode: extprocv3.ProcessingMode_SKIP}
		}), Finds: []string{"it does not ask about the head"}},
		{Name: "bodies are sent", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.RequestBodyMode = extprocv3.ProcessingMode_STREAMED
		}), Finds: []string{"it sends bodies to athd"}},
		{Name: "trailers of requests are sent", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.RequestTrailerMode = extprocv3.ProcessingMode_SEND
		}), Finds: []string{"it sends trailers of requests"}},
		{Name: "another role", Do: judging(func(p *extprocv3.ExternalProcessor) { p.GrpcService.InitialMetadata[0].Value = envoy.RoleWatch }), Finds: []string{`it asks athd for the role "watch" first`}},
		{Name: "a second try's token too", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.GrpcService.InitialMetadata[0].Value = envoy.RoleJudge + ", " + envoy.RoleRetry
		}), Finds: []string{`it asks athd for the role "retry"`}},
		{Name: "a provider told for all routes", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.GrpcService.InitialMetadata = append(p.GrpcService.InitialMetadata, &corev3.HeaderValue{Key: envoy.StreamProvider, Value: Provider})
		}), Finds: []string{`it says "x-ath-provider" for all routes`}},
		{Name: "authorization is not told", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.ForwardRules.DisallowedHeaders.Patterns = append(p.ForwardRules.DisallowedHeaders.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "authorization"}})
		}), Finds: []string{`athd is not told the header "authorization"`}},
		{Name: "the host is not told", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.ForwardRules.DisallowedHeaders.Patterns = append(p.ForwardRules.DisallowedHeaders.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: ":auth"}})
		}), Finds: []string{`athd is not told the header ":authority"`}},
		{Name: "no time-out", Do: judging(func(p *extprocv3.ExternalProcessor) { p.MessageTimeout = nil }), Finds: []string{"it has no message_timeout"}, Warning: true},
		{Name: "no time at all", Do: judging(func(p *extprocv3.ExternalProcessor) { p.MessageTimeout = durationpb.New(0) }), Finds: []string{"it waits for no answer at all"}},
		{Name: "a long time-out", Do: judging(func(p *extprocv3.ExternalProcessor) { p.MessageTimeout = durationpb.New(time.Minute) }), Finds: []string{"it waits longer than 5 s"}, Warning: true},
		{Name: "as much time as an answer wants", Do: judging(func(p *extprocv3.ExternalProcessor) { p.MaxMessageTimeout = durationpb.New(time.Hour) }), Finds: []string{"an answer may ask for more than 5 s"}, Warning: true},
		{Name: "no status_on_error", Do: judging(func(p *extprocv3.ExternalProcessor) { p.StatusOnError = nil }), Finds: []string{"agents are told 500"}, Warning: true},
		{Name: "a status_on_error that is none", Do: judging(func(p *extprocv3.ExternalProcessor) { p.StatusOnError = &typev3.HttpStatus{Code: 200} }), Finds: []string{"agents are told that all went well"}},
		{Name: "another service", Do: judging(func(p *extprocv3.ExternalProcessor) {
			p.GrpcService.GetEnvoyGrpc().ClusterName = envoy.CompanionCluster
		}),
			Finds: []string{`it asks "127.0.0.1:9000", not athd`, "it does not speak HTTP/2"}},
		{Name: "few decisions at once", Do: clustered("athd_authz", func(c *clusterv3.Cluster) { c.CircuitBreakers.Thresholds[0].MaxRequests = wrapperspb.UInt32(100) }),
			Finds: []string{"allows few requests at once"}, Warning: true},
	}
}

// ofJudgedRoutes are of single routes.
func ofJudgedRoutes() []Mutation {
	return []Mutation{
		{Name: "disabled on a route", Do: onProvider(func(r *routev3.Route) {
			r.TypedPerFilterConfig[envoy.JudgeFilter] = pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Disabled{Disabled: true}})
		}), Finds: []string{"ext_proc is disabled"}},
		{Name: "disabled on a route by FilterConfig", Do: onProvider(func(r *routev3.Route) {
			r.TypedPerFilterConfig[envoy.JudgeFilter] = pack(&routev3.FilterConfig{Disabled: true})
		}), Finds: []string{"ext_proc is disabled"}},
		{Name: "disabled by default", Do: func(c *Config) {
			c.Filter(envoy.JudgeFilter, func(f *hcmv3.HttpFilter) { f.Disabled = true })
			onApp(func(r *routev3.Route) { delete(r.TypedPerFilterConfig, envoy.JudgeFilter) })(c)
		}, Finds: []string{"ext_proc is disabled"}},
		{Name: "another service on a route", Do: judgedOn(func(o *extprocv3.ExtProcOverrides) {
			o.GrpcService = &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: envoy.CompanionCluster}}}
		}), Finds: []string{"it asks another service than the ext_proc filter does"}},
		{Name: "a role on a route", Do: onProvider(saying(envoy.StreamRole, envoy.RoleWatch)), Finds: []string{"it says once more which role athd has"}},
		{Name: "no provider told", Do: onApp(saying(envoy.StreamProvider, "")), Finds: []string{"does not tell athd which"}},
		{Name: "another provider told", Do: onProvider(saying(envoy.StreamProvider, App)),
			Finds: []string{`athd is told "shop"`, "the guard wants athd's yes to", "leads to", "is rewritten", "the host is rewritten"}},
		{Name: "another mount told", Do: onProvider(saying(envoy.StreamMount, "/ath/")), Finds: []string{`athd is told the mount "/ath/"`}},
		{Name: "no mount told", Do: onProvider(saying(envoy.StreamMount, "")), Finds: []string{"it does not tell athd its mount"}},
		{Name: "no limit of streams told", Do: onProvider(saying(envoy.StreamLimit, "")), Finds: []string{"may outlive the agent's token"}, Warning: true},
	}
}

// ofTheChainOfTheJudge are of what stands around it.
func ofTheChainOfTheJudge() []Mutation {
	filters := func(change func([]*hcmv3.HttpFilter) []*hcmv3.HttpFilter) func(*Config) {
		return managed(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = change(m.HttpFilters) })
	}
	without := func(name string) func(*Config) {
		return filters(func(list []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
			return slices.DeleteFunc(list, func(f *hcmv3.HttpFilter) bool { return f.Name == name })
		})
	}
	judge := func(list []*hcmv3.HttpFilter) int {
		return slices.IndexFunc(list, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.JudgeFilter })
	}
	return []Mutation{
		{Name: "no judge", Do: without(envoy.JudgeFilter), Finds: []string{"ext_proc is missing"}},
		{Name: "optional", Do: func(c *Config) {
			c.Filter(envoy.JudgeFilter, func(f *hcmv3.HttpFilter) { f.IsOptional = true })
		}, Finds: []string{"ext_proc is optional"}},
		{Name: "no guard", Do: without(guard), Finds: []string{"there is no guard behind ext_proc", `settings for the filter "envoy.filters.http.rbac", which is not in the chain`}},
		{Name: "the guard before the judge", Do: filters(func(list []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
			i := judge(list)
			list[i], list[i+1] = list[i+1], list[i]
			return list
		}), Finds: []string{"the guard stands before ext_proc"}},
		{Name: "a second judge", Do: filters(func(list []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
			second := proto.Clone(list[judge(list)]).(*hcmv3.HttpFilter)
			second.Name = "second"
			return slices.Insert(list, judge(list)+1, second)
		}), Finds: []string{"there are two ext_proc filters"}},
		{Name: "ext_authz beside it", Do: filters(func(list []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
			return slices.Insert(list, judge(list), httpFilter(check, &extauthzv3.ExtAuthz{Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "athd_authz"}},
			}}}))
		}), Finds: []string{
			"there are two ext_authz and ext_proc filters", "it asks by ext_authz, where athd's configuration says ext_proc",
			"a reply may change any header", "headers are not told raw", "what a reply changes is not validated", "it has no timeout", "agents are told 403",
		}},
		{Name: "somebody else's ext_proc behind it", Do: filters(func(list []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
			return slices.Insert(list, judge(list)+2, httpFilter("theirs", &extprocv3.ExternalProcessor{GrpcService: &corev3.GrpcService{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "athd_authz"}},
			}}))
		}), Finds: []string{"behind ext_proc it may change the route or headers"}},
		{Name: "code behind it", Do: filters(func(list []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
			return slices.Insert(list, judge(list)+2, httpFilter("lua", script(`function envoy_on_request(h) h:headers():replace("authorization", "x") end`)))
		}), Finds: []string{"behind ext_proc it may change the route or headers"}},
	}
}
