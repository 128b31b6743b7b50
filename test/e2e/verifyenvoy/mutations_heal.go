package verifyenvoy

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
)

// Which of the two of the filter that asks athd about an API's 401s.
const (
	secondTry = iota
	rejections
)

// healing edits what a filter of the run-time providers' cluster becomes.
func healing(filter string, which int, change func(*compositev3.ExecuteFilterAction)) func(*Config) {
	return clearing(envoy.RuntimeCluster, func(o *httpv3.HttpProtocolOptions) {
		for _, f := range o.HttpFilters {
			if f.Name == filter {
				edit(f.GetTypedConfig(), &compositev3.Composite{}, func(c *compositev3.Composite) {
					edit(c.Matcher.GetMatcherList().Matchers[which].OnMatch.GetAction().TypedConfig, &compositev3.ExecuteFilterAction{}, change)
				})
			}
		}
	})
}

func asking(which int, change func(*extprocv3.ExternalProcessor)) func(*Config) {
	return healing(envoy.HealFilter, which, func(a *compositev3.ExecuteFilterAction) {
		edit(a.TypedConfig.TypedConfig, &extprocv3.ExternalProcessor{}, change)
	})
}

// ofHealing are of what looks into an API's 401s.
func ofHealing() []Mutation {
	repeats := func(change func(*routev3.RetryPolicy)) func(*Config) {
		return onRuntime(func(r *routev3.Route) { change(r.GetRoute().RetryPolicy) })
	}
	const again = "what an agent does may be done twice"
	return []Mutation{
		{Name: "a reply that athd is waited for", Do: asking(rejections, func(p *extprocv3.ExternalProcessor) {
			p.ObservabilityMode, p.DeferredCloseTimeout = false, nil
		}), Finds: []string{"it pauses the API's replies"}},
		{Name: "a second try that hears the reply, too", Do: asking(secondTry, func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.ResponseHeaderMode = extprocv3.ProcessingMode_SEND
		}), Finds: []string{"it pauses the API's replies"}},
		{Name: "a second try with another path", Do: asking(secondTry, func(p *extprocv3.ExternalProcessor) {
			p.MutationRules.AllowExpression = pattern("^(authorization|:path)$")
		}), Finds: []string{"more may be changed of the second try than its token"}},
		{Name: "a second try of which all may change", Do: asking(secondTry, func(p *extprocv3.ExternalProcessor) { p.MutationRules = nil }), Finds: []string{"more may be changed of the second try than its token"}},
		{Name: "a second try whose body is shown", Do: asking(secondTry, func(p *extprocv3.ExternalProcessor) {
			p.ProcessingMode.RequestBodyMode = extprocv3.ProcessingMode_BUFFERED
		}), Finds: []string{"bodies are shown to athd"}},
		{Name: "a second try in another role", Do: asking(secondTry, func(p *extprocv3.ExternalProcessor) { p.GrpcService.InitialMetadata = nil }), Finds: []string{"another than athd is asked"}},
		{Name: "a second try asked of somebody else", Do: asking(secondTry, func(p *extprocv3.ExternalProcessor) {
			p.GrpcService.GetEnvoyGrpc().ClusterName = "athd_authz"
		}), Finds: []string{"another than athd is asked"}},
		{Name: "a second try that writes where the guard reads", Do: asking(secondTry, func(p *extprocv3.ExternalProcessor) {
			p.MetadataOptions.ReceivingNamespaces = p.MetadataOptions.ForwardingNamespaces
		}), Finds: []string{"its answers write more than which token the second try has"}},
		{Name: "a mark that is another header", Do: healing(envoy.HealMarkFilter, 0, func(a *compositev3.ExecuteFilterAction) {
			edit(a.TypedConfig.TypedConfig, &headersv3.HeaderMutation{}, func(h *headersv3.HeaderMutation) {
				h.Mutations.RequestMutations = append(h.Mutations.RequestMutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: "authorization"}})
			})
		}), Finds: []string{"it changes more than the mark"}},
		{Name: "a filter of 401s that is something else", Do: clearing(envoy.RuntimeCluster, func(o *httpv3.HttpProtocolOptions) {
			for _, f := range o.HttpFilters {
				if f.Name == envoy.HealFilter {
					f.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&headersv3.HeaderMutation{})}
				}
			}
		}), Finds: []string{"which filters it becomes cannot be verified"}},
		{Name: "what is not marked sent again", Do: repeats(func(p *routev3.RetryPolicy) { p.RetryOn = "retriable-headers,5xx" }), Finds: []string{again}, Warning: true},
		{Name: "what is marked sent again and again", Do: repeats(func(p *routev3.RetryPolicy) { p.NumRetries = wrapperspb.UInt32(5) }), Finds: []string{again}, Warning: true},
		{Name: "what another header marks sent again", Do: repeats(func(p *routev3.RetryPolicy) { p.RetriableHeaders[0].Name = "retry-after" }), Finds: []string{again}, Warning: true},
	}
}
