package bootstrap

import (
	"net/netip"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	socketv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/transport_socket/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy"
)

// egress is a filter of the cluster: it sees the address that was chosen, before
// there is a connection, for each request. It admits, so that a missing address is
// refused. Its name is its own, as that of removeReplyHeaders is.
func (g *generator) egress() *hcmv3.HttpFilter {
	policies := map[string]*rbacv3.Policy{}
	anybody := &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	if g.config.Egress.AllowsHTTP() {
		plain := said(envoy.MetaUpstream, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: exact(envoy.UpstreamHTTP)}})
		policies["athd-egress-http"] = g.admits(plain, true)
		anybody = &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: plain}}
	}
	policies["athd-egress"] = g.admits(anybody, false)
	return g.filter(envoy.EgressFilter, &guardv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: policies}})
}

func (g *generator) admits(who *rbacv3.Principal, http bool) *rbacv3.Policy {
	admit, refuse := g.config.Egress.Rules(http)
	permission := g.anyRule(admit)
	if len(refuse) > 0 {
		permission = allOf(permission, not(g.anyRule(refuse)))
	}
	return &rbacv3.Policy{Principals: []*rbacv3.Principal{who}, Permissions: []*rbacv3.Permission{permission}}
}

func (g *generator) anyRule(rules []egress.Rule) *rbacv3.Permission {
	var all []*rbacv3.Permission
	for _, r := range rules {
		if len(r.Except) == 0 {
			all = append(all, g.within(r.In, r.Port)...)
			continue
		}
		all = append(all, allOf(anyOf(g.within(r.In, r.Port)), not(anyOf(g.within(r.Except, r.Port)))))
	}
	return anyOf(all)
}

func (g *generator) within(prefixes []netip.Prefix, port uint16) []*rbacv3.Permission {
	out := make([]*rbacv3.Permission, len(prefixes))
	for i, r := range ranges(prefixes) {
		m := &upstreamv3.UpstreamIpPortMatcher{UpstreamIp: r}
		if port != 0 {
			m.UpstreamPortRange = &typev3.Int64Range{Start: int64(port), End: int64(port) + 1}
		}
		out[i] = &rbacv3.Permission{Rule: &rbacv3.Permission_Matcher{Matcher: &corev3.TypedExtensionConfig{
			Name: "envoy.rbac.matchers.upstream_ip_port", TypedConfig: g.pack(m),
		}}}
	}
	return out
}

func ranges(prefixes []netip.Prefix) []*corev3.CidrRange {
	out := make([]*corev3.CidrRange, len(prefixes))
	for i, p := range prefixes {
		out[i] = &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
	}
	return out
}

func xdsRanges(prefixes []netip.Prefix) []*xdscorev3.CidrRange {
	out := make([]*xdscorev3.CidrRange, len(prefixes))
	for i, p := range prefixes {
		out[i] = &xdscorev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
	}
	return out
}

func anyOf(all []*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: all}}}
}

func allOf(all ...*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: all}}}
}

func not(p *rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
}

// sameHost is request.host == metadata.filter_metadata[ext_authz][ath_host], in CEL.
// Envoy takes it parsed only.
func sameHost() *expr.Expr {
	name := func(s string) *expr.Expr {
		return &expr.Expr{ExprKind: &expr.Expr_IdentExpr{IdentExpr: &expr.Expr_Ident{Name: s}}}
	}
	text := func(s string) *expr.Expr {
		return &expr.Expr{ExprKind: &expr.Expr_ConstExpr{ConstExpr: &expr.Constant{ConstantKind: &expr.Constant_StringValue{StringValue: s}}}}
	}
	field := func(of *expr.Expr, name string) *expr.Expr {
		return &expr.Expr{ExprKind: &expr.Expr_SelectExpr{SelectExpr: &expr.Expr_Select{Operand: of, Field: name}}}
	}
	call := func(function string, args ...*expr.Expr) *expr.Expr {
		return &expr.Expr{ExprKind: &expr.Expr_CallExpr{CallExpr: &expr.Expr_Call{Function: function, Args: args}}}
	}
	ofCheck := call("_[_]", field(name("metadata"), "filter_metadata"), text(envoy.CheckFilter))
	return call("_==_", field(name("request"), "host"), call("_[_]", ofCheck, text(envoy.MetaHost)))
}

// whereSaid chooses a transport socket by its name, where the filter state of that
// name has this value.
func (g *generator) whereSaid(name, value string) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
		Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
			Predicate: &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
				SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
					Input: &xdscorev3.TypedExtensionConfig{
						Name: "envoy.matching.inputs.transport_socket_filter_state", TypedConfig: g.pack(&socketv3.FilterStateInput{Key: name}),
					},
					Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{
						ValueMatch: &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: value}},
					},
				},
			}},
			OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
				Name: name, TypedConfig: g.pack(&socketv3.TransportSocketNameAction{Name: name}),
			}}},
		}},
	}}}
}
