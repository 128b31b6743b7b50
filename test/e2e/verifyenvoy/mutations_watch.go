package verifyenvoy

import (
	"slices"
	"time"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/athd/athd/envoy"
)

// WatchMutations are ways to break a configuration in which athd hears of long
// exchanges, of which none outlives athd, and of replies.
func WatchMutations() []Mutation { return slices.Concat(ofTheWatch(), ofWatched(), ofCheckedReplies()) }

// chosen edits what a filter chooses among.
func chosen(filter string, change func(*compositev3.Composite)) func(*Config) {
	return func(c *Config) {
		c.Filter(filter, func(f *hcmv3.HttpFilter) { edit(f.GetTypedConfig(), &compositev3.Composite{}, change) })
	}
}

// hearing edits one of the ext_proc filters among which a filter chooses.
func hearing(filter string, which int, change func(*extprocv3.ExternalProcessor)) func(*Config) {
	return chosen(filter, func(composite *compositev3.Composite) {
		action := composite.Matcher.GetMatcherList().Matchers[which].OnMatch.GetAction().TypedConfig
		edit(action, &compositev3.ExecuteFilterAction{}, func(a *compositev3.ExecuteFilterAction) {
			edit(a.TypedConfig.TypedConfig, &extprocv3.ExternalProcessor{}, change)
		})
	})
}

// Which of the watch's two: of long requests, and of long replies.
const (
	requests = iota
	answers
)

func watching(change func(*extprocv3.ExternalProcessor)) func(*Config) {
	return func(c *Config) {
		hearing(envoy.WatchFilter, requests, change)(c)
		hearing(envoy.WatchFilter, answers, change)(c)
	}
}

// ofTheWatch are of each ext_proc filter behind the guard.
func ofTheWatch() []Mutation {
	return []Mutation{
		{Name: "exchanges that outlive athd", Do: watching(func(p *extprocv3.ExternalProcessor) { p.FailureModeAllow = true }), Finds: []string{"exchanges go on where athd hears of them no more"}},
		{Name: "a second try's token in the place of a watch", Do: watching(func(p *extprocv3.ExternalProcessor) {
			p.GrpcService.InitialMetadata[0].Value = envoy.RoleRetry
		}), Finds: []string{`it asks athd for the role "retry"`, "no filter tells athd of long exchanges"}},
		{Name: "a watch that hears the beginning only", Do: watching(func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.ResponseTrailerMode = extprocv3.ProcessingMode_SKIP
		}), Finds: []string{"hears of an exchange's head only"}},
		{Name: "a watch that nobody obeys", Do: watching(func(p *extprocv3.ExternalProcessor) { p.ObservabilityMode = true }), Finds: []string{"observability_mode asks athd"}},
		{Name: "a watch whose ends are dropped", Do: watching(func(p *extprocv3.ExternalProcessor) { p.DisableImmediateResponse = true }), Finds: []string{"disable_immediate_response drops"}},
		{Name: "a watch that is not told what was allowed", Do: watching(func(p *extprocv3.ExternalProcessor) { p.MetadataOptions = nil }), Finds: []string{"athd is not told what its decision allowed"}},
		{Name: "a watch that writes where the guard reads", Do: watching(func(p *extprocv3.ExternalProcessor) {
			p.MetadataOptions.ReceivingNamespaces = p.MetadataOptions.ForwardingNamespaces
		}), Finds: []string{"its answers write where the guard reads"}},
		{Name: "a watch in the way of decisions", Do: watching(func(p *extprocv3.ExternalProcessor) { p.GrpcService.GetEnvoyGrpc().ClusterName = "athd_authz" }), Finds: []string{"streams that stay open keep decisions waiting"}},
		{Name: "a watch of ten seconds", Do: watching(func(p *extprocv3.ExternalProcessor) { p.GrpcService.Timeout = durationpb.New(10 * time.Second) }), Finds: []string{"the stream to athd ends after 10s"}},
		{Name: "a watch that is sent bodies", Do: watching(func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.ResponseBodyMode = extprocv3.ProcessingMode_STREAMED
		}), Finds: []string{"it sends bodies or trailers"}},
		{Name: "a watch that may change the request", Do: watching(func(p *extprocv3.ExternalProcessor) { p.MutationRules = nil }), Finds: []string{"an answer that has to change nothing may change"}},
		{Name: "a watch that may change authorization", Do: watching(func(p *extprocv3.ExternalProcessor) {
			p.MutationRules.AllowExpression = pattern("authorization|content-type")
		}), Finds: []string{`may change "authorization"`}},
		{Name: "a watch that has the route chosen again", Do: watching(func(p *extprocv3.ExternalProcessor) { p.RouteCacheAction = extprocv3.ExternalProcessor_CLEAR }), Finds: []string{"the route is chosen again"}},
	}
}

// ofWatched are of what athd hears of, and where.
func ofWatched() []Mutation {
	drop := func(which int) func(*Config) {
		return chosen(envoy.WatchFilter, func(c *compositev3.Composite) {
			list := &c.Matcher.GetMatcherList().Matchers
			*list = slices.Delete(*list, which, which+1)
		})
	}
	return []Mutation{
		{Name: "no watch", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.WatchFilter })
		}), Finds: []string{"no filter tells athd of long exchanges"}},
		{Name: "the watch before the guard", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			at := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.WatchFilter })
			f := m.HttpFilters[at]
			m.HttpFilters = slices.Insert(slices.Delete(m.HttpFilters, at, at+1), 0, f)
		}), Finds: []string{"it stands before the guard"}},
		{Name: "requests that nobody watches", Do: drop(requests), Finds: []string{"athd does not hear of WebSockets, uploads of unsaid length, uploads by methods of any name, long uploads, streams of gRPC, long polls that say so: what is revoked goes on"}},
		{Name: "replies that nobody watches", Do: drop(answers), Finds: []string{"athd does not hear of server-sent events, replies of unsaid length, long downloads: what is revoked goes on"}},
		{Name: "a watch of WebSockets only", Do: chosen(envoy.WatchFilter, func(c *compositev3.Composite) {
			whole := c.Matcher.GetMatcherList().Matchers[requests].Predicate.GetAndMatcher()
			one := whole.Predicate[0].GetOrMatcher()
			one.Predicate = []*xdsmatcherv3.Matcher_MatcherList_Predicate{one.Predicate[0], one.Predicate[0]}
		}), Finds: []string{"athd does not hear of uploads of unsaid length, uploads by methods of any name, long uploads, streams of gRPC, long polls that say so:"}},
		{Name: "a watch of uploads by methods that begin with P", Do: chosen(envoy.WatchFilter, func(c *compositev3.Composite) {
			whole := c.Matcher.GetMatcherList().Matchers[requests].Predicate.GetAndMatcher()
			list := whole.Predicate[0].GetOrMatcher().Predicate
			unsaid := list[len(list)-1].GetAndMatcher()
			method := unsaid.Predicate[0].GetNotMatcher().GetOrMatcher().Predicate[0]
			method.GetSinglePredicate().GetValueMatch().MatchPattern = &xdsmatcherv3.StringMatcher_Prefix{Prefix: "P"}
			unsaid.Predicate[0] = method
		}), Finds: []string{"athd does not hear of uploads by methods of any name: what is revoked goes on"}},
		{Name: "a watch that a route disables", Do: onProvider(func(r *routev3.Route) {
			r.TypedPerFilterConfig[envoy.WatchFilter] = pack(&routev3.FilterConfig{Disabled: true})
		}), Finds: []string{`the filter "athd.watch" is disabled`}},
		{Name: "ends that are told late", Do: managed(func(m *hcmv3.HttpConnectionManager) { m.DelayedCloseTimeout = nil }), Finds: []string{"learns a second after it"}, Warning: true},
	}
}

func ofCheckedReplies() []Mutation {
	checking := func(change func(*extprocv3.ExternalProcessor)) func(*Config) {
		return hearing(envoy.ReplyFilter, 0, change)
	}
	return []Mutation{
		{Name: "no filter for replies", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
				return f.Name == envoy.ReplyFilter || f.Name == envoy.ReplyTrailersFilter
			})
		}), Finds: []string{"no filter tells athd of replies"}},
		{Name: "replies that go on unchecked", Do: checking(func(p *extprocv3.ExternalProcessor) { p.FailureModeAllow = true }), Finds: []string{"replies that athd has not checked go on"}},
		{Name: "replies that athd does not hear of", Do: checking(func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.ResponseHeaderMode = extprocv3.ProcessingMode_SKIP
		}), Finds: []string{"does not hear of replies (response_header_mode"}},
		{Name: "trailers that athd does not hear of", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.ReplyTrailersFilter })
		}), Finds: []string{"athd does not hear of replies' trailers"}},
		{Name: "trailers that another filter lets go on", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			from := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.ReplyTrailersFilter })
			to := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.ReplyFilter })
			m.HttpFilters[from], m.HttpFilters[to] = m.HttpFilters[to], m.HttpFilters[from]
		}), Finds: []string{"it has to be the last that a reply passes"}},
		{Name: "replies of which some are heard of", Do: chosen(envoy.ReplyFilter, func(c *compositev3.Composite) {
			first := c.Matcher.GetMatcherList().Matchers[0]
			first.Predicate = &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: first.Predicate}}
		}), Finds: []string{"athd does not hear of all replies"}},
		{Name: "replies to a second try, whose token is not said", Do: checking(func(p *extprocv3.ExternalProcessor) {
			p.MetadataOptions.ForwardingNamespaces.Untyped = []string{envoy.MetaNamespace}
		}), Finds: []string{"athd is not told which token a second try had"}},
		{Name: "replies whose length may change", Do: checking(func(p *extprocv3.ExternalProcessor) {
			p.MutationRules = &mutationv3.HeaderMutationRules{DisallowIsError: p.MutationRules.DisallowIsError}
		}), Finds: []string{"by which the reply is framed"}},
	}
}
