package verify

import (
	"regexp"
	"slices"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// maxAuthzTimeout is how long a request may hang on a decision.
const maxAuthzTimeout = 5 * time.Second

// verifyCheck looks at the settings of the filter that asks for a decision.
func (c *chain) verifyCheck() {
	f := c.filters[c.checkAt]
	where := c.at(f)
	if f.optional {
		c.fault(where, c.asks()+" is optional: an Envoy without it would not ask", "remove is_optional")
	}
	c.verifyWanted(where)
	if c.judge != nil {
		c.verifyJudge(where)
		return
	}
	c.verifyAlwaysAsks(where)
	c.verifyToldHeaders(where)
	c.verifyMutationRules(where)
	if c.check.GetWithRequestBody() != nil {
		c.warning(where, "it sends bodies to athd, which reads none: uploads wait, or are refused", "remove with_request_body")
	}
	if c.check.GetClearRouteCache() {
		c.fault(where, "the route is chosen again after the check: it may be another than the one that was judged", "remove clear_route_cache")
	}
	if c.check.GetGrpcService() == nil {
		c.fault(where, "it does not ask by gRPC, which is all that athd speaks", "set grpc_service")
		return
	}
	c.verifyAthd(where, c.service())
	switch timeout := c.check.GetGrpcService().GetTimeout(); {
	case timeout == nil:
		c.warning(where, "it has no timeout: Envoy waits 200 ms only, less than athd's store may take", "set grpc_service.timeout to 1s")
	case timeout.AsDuration() == 0 || timeout.AsDuration() > maxAuthzTimeout:
		c.warning(where, "it waits longer than 5 s: while athd is away, requests pile up", "set grpc_service.timeout to 1s")
	}
	if c.check.GetStatusOnError() == nil {
		c.warning(where, "while athd is away, agents are told 403, as if it had refused them", "set status_on_error to 503")
	} else if code := c.check.GetStatusOnError().GetCode(); code < 400 {
		c.fault(where, "while athd is away, agents are told that all went well", "set status_on_error to 503")
	}
}

// verifyAlwaysAsks looks for whatever lets requests by unasked or unheard.
func (c *chain) verifyAlwaysAsks(where string) {
	if c.check.GetFailureModeAllow() {
		c.fault(where, "failure_mode_allow lets requests through while athd is away", "set failure_mode_allow: false")
	}
	if c.check.GetShadowMode() {
		c.fault(where, "shadow_mode asks athd and does not obey", "remove shadow_mode")
	}
	if p := c.check.GetFilterEnabled().GetDefaultValue(); c.check.GetFilterEnabled() != nil && !whole(p) {
		c.fault(where, "filter_enabled checks a part of the requests only", "remove filter_enabled")
	} else if c.check.GetFilterEnabled().GetRuntimeKey() != "" {
		c.warning(where, "filter_enabled can be turned down at run time, by "+envoy.Quote(c.check.GetFilterEnabled().GetRuntimeKey()), "remove filter_enabled")
	}
	if m := c.check.GetFilterEnabledMetadata(); m != nil && !c.marksEveryRequest(m) {
		c.fault(where, "filter_enabled_metadata checks requests with some metadata only", "remove filter_enabled_metadata")
	}
}

func whole(p *typev3.FractionalPercent) bool {
	of := map[typev3.FractionalPercent_DenominatorType]uint32{
		typev3.FractionalPercent_HUNDRED: 100, typev3.FractionalPercent_TEN_THOUSAND: 10_000, typev3.FractionalPercent_MILLION: 1_000_000,
	}
	return p.GetNumerator() >= of[p.GetDenominator()] && of[p.GetDenominator()] > 0
}

// verifyToldHeaders looks at what athd hears of a request.
func (c *chain) verifyToldHeaders(where string) {
	if c.check != nil && !c.check.GetEncodeRawHeaders() {
		c.say(c.ours(), where, "headers are not told raw: those of one name arrive as one, bytes that are not UTF-8 as '!', so that what is judged may differ from what is sent",
			"set encode_raw_headers: true")
	}
	need := []string{envoy.HeaderAuthorization, "x-ath-agent-id", envoy.HeaderPrefix + "any"}
	if c.judge != nil || c.check.GetEncodeRawHeaders() {
		need = append(need, ":path", ":method")
	}
	if c.judge != nil {
		need = append(need, envoy.HeaderAuthority)
	}
	if slices.ContainsFunc(c.expect.Providers.Apps(), func(p *provider.Provider) bool { return p.App.Passthrough }) {
		need = append(need, envoy.HeaderCookie)
	}
	if !c.told(envoy.HeaderUpgrade) {
		c.warning(where, "athd is not told that a request asks for another protocol: where a route allows upgrades, agents get WebSockets that no scope opens",
			"add upgrade to allowed_headers")
	}
	// These stand for those in which people put a token.
	if untold := func(name string) bool { return !c.told(name) }; !c.expect.ByHost && slices.ContainsFunc([]string{"referer", "x-api-key", "api-token"}, untold) {
		c.warning(where, "athd is not told the headers in which an ATH token may be by mistake: it reaches the API, and its log",
			"take allowed_headers and disallowed_headers from what athd bootstrap prints, or leave both out")
	}
	for _, name := range need {
		if !c.told(name) {
			c.fault(where, "athd is not told the header "+envoy.Quote(name), "add it to allowed_headers, and remove it from disallowed_headers")
		}
	}
}

func (c *chain) told(name string) bool {
	in := func(list *matcherv3.ListStringMatcher) bool {
		return slices.ContainsFunc(list.GetPatterns(), func(m *matcherv3.StringMatcher) bool { return stringMatches(m, name) })
	}
	allowed, disallowed := c.check.GetAllowedHeaders(), c.check.GetDisallowedHeaders()
	if c.judge != nil {
		allowed, disallowed = c.judge.GetForwardRules().GetAllowedHeaders(), c.judge.GetForwardRules().GetDisallowedHeaders()
	}
	return (allowed == nil || in(allowed)) && !in(disallowed)
}

// verifyMutationRules looks at what a reply may do to a request.
func (c *chain) verifyMutationRules(where string) {
	key := "decoder_header_mutation_rules"
	if c.judge != nil {
		key = "mutation_rules"
	} else if !c.check.GetValidateMutations() {
		c.say(c.ours(), where, "what a reply changes is not validated", "set validate_mutations: true")
	}
	rules := c.mutationRules()
	if rules == nil {
		c.say(c.ours(), where, "a reply may change any header, the path too", "set "+key+": only authorization, cookie and x-ath-*")
		return
	}
	must, may := []string{envoy.HeaderAuthorization, envoy.HeaderCookie, "x-ath-agent-id"}, "authorization, cookie and x-ath-*"
	if c.leads {
		must, may = append(must, envoy.HeaderPath, envoy.HeaderAuthority), "authorization, cookie, x-ath-*, :path and :authority"
	}
	for _, name := range must {
		if !mutable(rules, name) {
			c.fault(where, "athd's reply may not change "+envoy.Quote(name)+", as it must", "let "+key+" allow "+may)
		}
	}
	for _, name := range []string{":path", ":authority", ":method", ":scheme", "host", "content-length", "transfer-encoding", "x-forwarded-for", "x-envoy-original-path", "accept"} {
		if slices.Contains(must, name) {
			continue // the route to run-time providers lives by it; on others athd's replies leave it alone
		}
		if mutable(rules, name) {
			c.say(c.ours(), where, "a reply may change "+envoy.Quote(name), "let "+key+" allow "+may+" only")
			return
		}
	}
}

// mutable evaluates the rules as Envoy documents them: expressions first, then
// all, then kinds of headers.
func mutable(r *mutationv3.HeaderMutationRules, name string) bool {
	pseudo := name[0] == ':'
	switch {
	case r.GetDisallowExpression() != nil && regexMatches(r.GetDisallowExpression(), name):
		return false
	case r.GetAllowExpression() != nil && regexMatches(r.GetAllowExpression(), name):
		return true
	case r.GetDisallowAll().GetValue():
		return false
	case pseudo && r.GetDisallowSystem().GetValue():
		return false
	case pseudo || name == "host":
		return r.GetAllowAllRouting().GetValue()
	case len(name) > 8 && name[:8] == "x-envoy-":
		return r.GetAllowEnvoy().GetValue()
	}
	return true
}

// regexMatches is for the whole string, as in Envoy. What does not compile
// matches nothing.
func regexMatches(m *matcherv3.RegexMatcher, s string) bool {
	r, err := regexp.Compile(`^(?s:` + m.GetRegex() + `)$`)
	return err == nil && r.MatchString(s)
}

// verifyAsks reads what a target says to the filter that asks for a decision, and reports
// whether there is more to look at in that, and whether the filter asks.
func (c *chain) verifyAsks(w *target, per interface {
	proto.Message
	GetDisabled() bool
}) (more, asks bool) {
	s := w.settings(c.filters[c.checkAt].name)
	if len(s) == 0 || s[0].config.GetTypeUrl() == "" { // nothing, or FilterConfig that says "on" only
		return false, true
	}
	if !open(s[0].config, per) {
		c.fault(w.where, "its settings for "+c.asks()+" cannot be read", "look at them by hand: they were not verified")
		return false, true
	}
	if per.GetDisabled() {
		c.fault(w.where, c.asks()+" is disabled: athd is not asked", "remove what disables it on this route")
		return false, false
	}
	return true, true
}

// verifyPerRoute looks at what a target to a provider says to the filter that asks for
// a decision, and reports whether it asks.
func (c *chain) verifyPerRoute(w *target) bool {
	f := c.filters[c.checkAt]
	if !f.runs(w) {
		c.fault(w.where, c.asks()+" is disabled: athd is not asked", "remove what disables it on this route")
		return false
	}
	if c.judge != nil {
		return c.verifyJudgePerRoute(w)
	}
	if m := c.check.GetFilterEnabledMetadata(); m != nil {
		c.verifyMark(w, m)
	}
	var per extauthzv3.ExtAuthzPerRoute
	if more, asks := c.verifyAsks(w, &per); !more {
		return asks
	}
	if per.GetCheckSettings().GetWithRequestBody() != nil {
		c.warning(w.where, "it sends bodies to athd, which reads none: uploads wait, or are refused", "remove with_request_body")
	}
	if per.GetCheckSettings().GetServiceOverride() != nil {
		c.fault(w.where, "it asks another service than the ext_authz filter does", "remove the route's own service")
	}
	return true
}

// anyText is what an Any says, as JSON, for a look that needs no structure.
func anyText(a *anypb.Any) string {
	text, err := protojson.Marshal(a)
	if err != nil {
		return ""
	}
	return string(text)
}
