package bootstrap

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
)

// An API that answers 401 is asked once more, with another token. No filter of a
// cluster may pause a reply: where one comes before the request is complete, as of an
// upload or an upgrade, Envoy 1.40 crashes. So what may be sent again is marked
// without athd, the route's retry policy obeys the mark, and athd is asked as the
// second try begins. Of 401s it is told beside, by a filter that waits for nothing:
// for calls that are not sent again the next one finds another token.

const (
	// healSeconds is how long the second try waits for athd, which waits for the
	// provider for a second less.
	healSeconds = 5
	// tellSeconds is how long Envoy keeps a stream on which athd was told something.
	tellSeconds = 1

	// idempotent are the methods that are sent again (RFC 9110, section 9.2.2).
	idempotent = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"
)

// heals reports whether 401s of some API are looked into. That of a run-time
// provider's is said by its decisions.
func (c Config) heals() bool {
	if c.RuntimeProviders {
		return true
	}
	for _, p := range c.Providers.All() {
		if p.RetryOn401 {
			return true
		}
	}
	return false
}

// healing are filters of a cluster. Replies pass them in the reverse order, when what
// only athd says is removed from them (see removeReplyHeaders).
func (g *generator) healing() []*hcmv3.HttpFilter {
	rejected := all(g.ofReply(":status", like("401")), g.retries(), opposite(g.again()),
		opposite(g.ofReply("www-authenticate", is("insufficient_scope")))) // the token lives, and lacks a scope
	return []*hcmv3.HttpFilter{
		g.filter(envoy.HealFilter, g.chooses(
			choice{all(g.again(), g.retries()), envoy.HealFilter, g.asksForToken()},
			choice{rejected, envoy.HealTellFilter, g.tellsOf401()},
		)),
		g.filter(envoy.HealMarkFilter, g.chooses(choice{
			all(rejected, g.ofRequest(":method", like(idempotent)), opposite(g.ofRequest(envoy.HeaderUpgrade, is("e")))),
			envoy.HealMarkFilter, &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{ResponseMutations: []*mutationv3.HeaderMutation{{
				Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
					Header:       &corev3.HeaderValue{Key: envoy.HeaderRetry, Value: "1"},
					AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
				}},
			}}}},
		})),
	}
}

// retries is of calls whose decision said so: never of people's.
func (g *generator) retries() *predicate {
	return g.decided(envoy.MetaRetry, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: true}})
}

// again is of the second try: upstream.request_attempt_count > 1, in CEL, which Envoy
// takes parsed only.
func (g *generator) again() *predicate {
	count := &expr.Expr{Id: 1, ExprKind: &expr.Expr_SelectExpr{SelectExpr: &expr.Expr_Select{
		Operand: &expr.Expr{Id: 2, ExprKind: &expr.Expr_IdentExpr{IdentExpr: &expr.Expr_Ident{Name: "upstream"}}}, Field: "request_attempt_count",
	}}}
	first := &expr.Expr{Id: 3, ExprKind: &expr.Expr_ConstExpr{ConstExpr: &expr.Constant{ConstantKind: &expr.Constant_Int64Value{Int64Value: 1}}}}
	more := &expr.Expr{Id: 4, ExprKind: &expr.Expr_CallExpr{CallExpr: &expr.Expr_Call{Function: "_>_", Args: []*expr.Expr{count, first}}}}
	return one(&xdscorev3.TypedExtensionConfig{
		Name: "envoy.matching.inputs.cel_data_input", TypedConfig: g.pack(&xdsmatcherv3.HttpAttributesCelMatchInput{}),
	}, &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{CustomMatch: &xdscorev3.TypedExtensionConfig{
			Name: "envoy.matching.matchers.cel_matcher", TypedConfig: g.pack(&xdsmatcherv3.CelMatcher{ExprMatch: &xdstypev3.CelExpression{
				ExprSpecifier: &xdstypev3.CelExpression_ParsedExpr{ParsedExpr: &expr.ParsedExpr{Expr: more}}, //nolint:staticcheck // of the types that the filters use too
			}}),
		}},
	})
}

// asksForToken has athd say the Authorization of the second try. Without an answer the
// call goes as before, and the API's own 401 is what the agent gets.
func (g *generator) asksForToken() *extprocv3.ExternalProcessor {
	p := g.heard(extprocv3.ProcessingMode_SEND, extprocv3.ProcessingMode_SKIP)
	p.MessageTimeout = seconds(healSeconds)
	p.MutationRules.AllowExpression = &matcherv3.RegexMatcher{Regex: "^authorization$"}
	p.MutationRules.DisallowIsError = nil                 // what it may not change is left out: as an error it would cost the API's own reply
	p.MetadataOptions.ReceivingNamespaces = ofSecondTry() // by which its reply is checked; no guard reads it
	return p
}

func (g *generator) tellsOf401() *extprocv3.ExternalProcessor {
	p := g.heard(extprocv3.ProcessingMode_SKIP, extprocv3.ProcessingMode_SEND)
	p.ObservabilityMode, p.DeferredCloseTimeout = true, seconds(tellSeconds)
	return p
}

// heard is what both have in common. athd is told of no header but these.
func (g *generator) heard(request, reply extprocv3.ProcessingMode_HeaderSendMode) *extprocv3.ExternalProcessor {
	p := g.processor(envoy.StreamsCluster, envoy.RoleRetry)
	p.ProcessingMode = phases(request, reply, extprocv3.ProcessingMode_SKIP)
	p.FailureModeAllow = true
	p.ForwardRules = &extprocv3.HeaderForwardingRules{AllowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{exact(":method"), exact(":status")}}}
	p.MetadataOptions = &extprocv3.MetadataOptions{ForwardingNamespaces: ofDecision()}
	return p
}

// retried is a route to an API whose 401s are looked into.
func (g *generator) retried(r *routev3.Route) *routev3.Route {
	r.GetRoute().RetryPolicy = &routev3.RetryPolicy{
		RetryOn: envoy.RetryMarked, NumRetries: wrapperspb.UInt32(1),
		RetriableHeaders: []*routev3.HeaderMatcher{{Name: envoy.HeaderRetry, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}},
		RetryBackOff:     &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(0.001), MaxInterval: seconds(0.001)},
	}
	r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, envoy.HeaderRetry)
	return r
}
