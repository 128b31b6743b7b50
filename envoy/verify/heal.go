package verify

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
)

// healing reports whether a filter of a cluster goes by the name of one that looks into
// an API's 401s.
func healing(name string) bool { return name == envoy.HealFilter || name == envoy.HealMarkFilter }

// heals reports whether some API may be asked once more, with another token.
func (c *chain) heals() bool {
	for _, cluster := range c.clusters {
		if slices.ContainsFunc(c.upstreamFilters(cluster), func(f filter) bool { return f.name == envoy.HealFilter }) {
			return true
		}
	}
	return false
}

// verifyHealing wants of such a filter what athd bootstrap writes: it asks athd alone,
// which may change the second try's Authorization and nothing else, pauses no reply,
// and marks replies.
func (c *chain) verifyHealing(where string, config *anypb.Any) {
	const again = "write Envoy's configuration again with athd bootstrap"
	var becomes compositev3.Composite
	if !open(config, &becomes) {
		becomes.Reset()
	}
	list := becomes.GetMatcher().GetMatcherList()
	if list == nil || becomes.GetMatcher().GetOnNoMatch() != nil || len(becomes.GetNamedFilterChains()) > 0 {
		c.fault(where, "which filters it becomes cannot be verified", again)
		return
	}
	for _, m := range list.GetMatchers() {
		var action compositev3.ExecuteFilterAction
		of := m.GetOnMatch().GetAction().GetTypedConfig()
		var asks extprocv3.ExternalProcessor
		var marks headersv3.HeaderMutation
		switch opened := open(of, &action) && action.GetTypedConfig() != nil; {
		case opened && open(action.GetTypedConfig().GetTypedConfig(), &asks):
			c.verifyAsksForToken(where, &asks, again)
		case opened && open(action.GetTypedConfig().GetTypedConfig(), &marks):
			if !marksOnly(&marks) {
				c.fault(where, "it changes more than the mark of replies that may be sent again", again)
			}
		default:
			c.fault(where, "which filters it becomes cannot be verified", again)
		}
	}
}

func (c *chain) verifyAsksForToken(where string, p *extprocv3.ExternalProcessor, again string) {
	mode, rules, role := p.GetProcessingMode(), p.GetMutationRules(), ""
	for _, h := range p.GetGrpcService().GetInitialMetadata() {
		if h.GetKey() == envoy.StreamRole {
			role += h.GetValue()
		}
	}
	if p.GetGrpcService().GetEnvoyGrpc().GetClusterName() != envoy.StreamsCluster || role != envoy.RoleRetry {
		c.fault(where, "another than athd is asked for the second try's token, or in another role", again)
	}
	onlyToken := rules.GetAllowExpression() == nil || rules.GetAllowExpression().GetRegex() == "^"+envoy.HeaderAuthorization+"$"
	if !rules.GetDisallowAll().GetValue() || !onlyToken || p.GetAllowModeOverride() {
		c.fault(where, "more may be changed of the second try than its token", again)
	}
	writes := p.GetMetadataOptions().GetReceivingNamespaces()
	if len(writes.GetTyped()) > 0 || slices.ContainsFunc(writes.GetUntyped(), func(n string) bool { return n != envoy.SentNamespace }) {
		c.fault(where, "its answers write more than which token the second try has", again)
	}
	if mode.GetRequestBodyMode() != extprocv3.ProcessingMode_NONE || mode.GetResponseBodyMode() != extprocv3.ProcessingMode_NONE {
		c.fault(where, "bodies are shown to athd", again)
	}
	if (mode.GetResponseHeaderMode() != extprocv3.ProcessingMode_SKIP || mode.GetResponseTrailerMode() == extprocv3.ProcessingMode_SEND) && !p.GetObservabilityMode() {
		c.fault(where, "it pauses the API's replies: Envoy crashes where one comes before the request is complete", again)
	}
}

// marksOnly reports whether a mutation sets the mark of replies and does nothing else.
func marksOnly(h *headersv3.HeaderMutation) bool {
	m := h.GetMutations()
	if len(m.GetRequestMutations())+len(m.GetRequestTrailersMutations())+len(m.GetResponseTrailersMutations())+len(m.GetQueryParameterMutations()) > 0 {
		return false
	}
	for _, one := range m.GetResponseMutations() {
		if one.GetAppend().GetHeader().GetKey() != envoy.HeaderRetry {
			return false
		}
	}
	return true
}

// repeatsMarked reports whether a policy sends again what is marked, once, and nothing
// else.
func repeatsMarked(p *routev3.RetryPolicy) bool {
	marks := p.GetRetriableHeaders()
	return p.GetRetryOn() == envoy.RetryMarked && p.GetNumRetries() != nil && p.GetNumRetries().GetValue() <= 1 && len(p.GetRetriableStatusCodes()) == 0 &&
		len(marks) == 1 && marks[0].GetName() == envoy.HeaderRetry && marks[0].GetPresentMatch() && !marks[0].GetInvertMatch()
}
