package verify

import (
	"slices"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"

	"github.com/athd/athd/envoy"
)

// verifyJudge looks at the settings of the ext_proc filter that asks for a decision.
func (c *chain) verifyJudge(where string) {
	p := c.judge
	c.verifyJudgeObeys(where)
	c.verifyModes(where, p.GetProcessingMode())
	c.verifyToldHeaders(where)
	c.verifyMutationRules(where)
	if rules := p.GetMutationRules(); rules != nil && !rules.GetDisallowIsError().GetValue() {
		c.say(c.ours(), where, "of an answer that changes what it may not, the rest is done: a request goes on half changed", "set mutation_rules.disallow_is_error: true")
	}
	if !receives(p.GetMetadataOptions()) {
		c.fault(where, "athd's yes is not written down where the guard reads it: it refuses everything",
			"set metadata_options.receiving_namespaces.untyped: ["+envoy.MetaNamespace+"]")
	}
	if p.GetGrpcService() == nil {
		c.fault(where, "it does not ask by gRPC, which is all that athd speaks", "set grpc_service")
		return
	}
	for _, h := range p.GetGrpcService().GetInitialMetadata() {
		if streamExtensions[h.GetKey()] != "" {
			c.fault(where, "it says "+envoy.Quote(h.GetKey())+" for all routes, which is each route's to say: athd refuses what is said twice",
				"move it from grpc_service.initial_metadata to the routes' grpc_initial_metadata")
		}
	}
	c.verifyAthd(where, p.GetGrpcService())
	c.verifyAnswerTime(where, p)
	if status := p.GetStatusOnError(); status == nil {
		c.warning(where, "while athd is away, agents are told 500, as if it had failed for good", "set status_on_error: {code: 503}")
	} else if status.GetCode() < 400 {
		c.fault(where, "while athd is away, agents are told that all went well", "set status_on_error: {code: 503}")
	}
}

// verifyAnswerTime looks at how long an answer may take.
func (c *chain) verifyAnswerTime(where string, p *extprocv3.ExternalProcessor) {
	switch timeout := p.GetMessageTimeout(); {
	case timeout == nil:
		c.warning(where, "it has no message_timeout: Envoy waits 200 ms only, less than athd's store may take", "set message_timeout: 1s")
	case timeout.AsDuration() == 0:
		c.fault(where, "it waits for no answer at all (message_timeout is 0): everything is refused", "set message_timeout: 1s")
	case timeout.AsDuration() > maxAuthzTimeout:
		c.warning(where, "it waits longer than 5 s: while athd is away, requests pile up", "set message_timeout: 1s")
	}
	if most := p.GetMaxMessageTimeout().AsDuration(); most > maxAuthzTimeout {
		c.warning(where, "an answer may ask for more than 5 s of time: requests pile up", "remove max_message_timeout")
	}
}

// verifyJudgeObeys looks for whatever lets requests by unasked or unheard.
func (c *chain) verifyJudgeObeys(where string) {
	p := c.judge
	if roles := rolesOf(p); len(roles) > 0 && roles[0] != envoy.RoleJudge {
		c.fault(where, "it asks athd for the role "+envoy.Quote(roles[0])+" first, which decides nothing", "set the initial metadata "+envoy.StreamRole+": "+envoy.RoleJudge)
	}
	if p.GetFailureModeAllow() {
		c.fault(where, "failure_mode_allow lets requests through while athd is away", "set failure_mode_allow: false")
	}
	c.verifyObeyed(where, p)
}

// verifyObeyed looks for whatever takes the force from athd's answers, or lets them
// do more than they have to.
func (c *chain) verifyObeyed(where string, p *extprocv3.ExternalProcessor) {
	if slices.Contains(rolesOf(p), envoy.RoleRetry) {
		c.fault(where, "it asks athd for the role "+envoy.Quote(envoy.RoleRetry)+", which is for a filter of a cluster, and alone there: here it would have a token replaced that no API has rejected",
			"take that role out of the initial metadata "+envoy.StreamRole)
	}
	if p.GetObservabilityMode() {
		c.fault(where, "observability_mode asks athd and does not wait for its answer", "remove observability_mode")
	}
	if p.GetDisableImmediateResponse() {
		c.fault(where, "disable_immediate_response drops athd's refusals: agents are not told why", "remove disable_immediate_response")
	}
	if p.GetAllowModeOverride() {
		c.fault(where, "allow_mode_override lets an answer say of what athd hears, and for how long", "remove allow_mode_override")
	}
	if p.GetProcessingRequestModifier() != nil || p.GetOnProcessingResponse() != nil {
		c.fault(where, "an extension changes what athd is told, or what its answer says", "remove processing_request_modifier and on_processing_response")
	}
	switch {
	case p.GetRouteCacheAction() == extprocv3.ExternalProcessor_CLEAR:
		c.fault(where, "the route is chosen again after the check: it may be another than the one that was judged", "set route_cache_action: RETAIN")
	case p.GetRouteCacheAction() != extprocv3.ExternalProcessor_RETAIN && !p.GetDisableClearRouteCache():
		c.say(c.ours(), where, "an answer may have the route chosen again: it may be another than the one that was judged", "set route_cache_action: RETAIN")
	}
}

// verifyModes looks at which parts of an exchange athd hears of.
func (c *chain) verifyModes(where string, m *extprocv3.ProcessingMode) {
	if m.GetRequestHeaderMode() == extprocv3.ProcessingMode_SKIP {
		c.fault(where, "it does not ask about the head of a request (request_header_mode: SKIP)", "set processing_mode.request_header_mode: SEND")
	}
	if m.GetRequestBodyMode() != extprocv3.ProcessingMode_NONE || m.GetResponseBodyMode() != extprocv3.ProcessingMode_NONE {
		c.fault(where, "it sends bodies to athd, which reads none and ends the stream", "set request_body_mode and response_body_mode: NONE")
	}
	if m.GetRequestTrailerMode() == extprocv3.ProcessingMode_SEND {
		c.fault(where, "it sends trailers of requests to athd, which reads none and ends the stream", "set processing_mode.request_trailer_mode: SKIP")
	}
}

// verifyJudgePerRoute looks at what a target to a provider says to ext_proc, and reports
// whether it asks.
func (c *chain) verifyJudgePerRoute(w *target) bool {
	var per extprocv3.ExtProcPerRoute
	if more, asks := c.verifyAsks(w, &per); !more {
		return asks
	}
	o := per.GetOverrides()
	if o.GetProcessingMode() != nil {
		c.verifyModes(w.where, o.GetProcessingMode())
	}
	if o.GetGrpcService() != nil {
		c.fault(w.where, "it asks another service than the ext_proc filter does", "remove the route's own grpc_service")
	}
	if o.GetFailureModeAllow().GetValue() {
		c.fault(w.where, "failure_mode_allow lets requests through while athd is away", "remove failure_mode_allow from the route's overrides")
	}
	if o.GetMetadataOptions() != nil && !receives(o.GetMetadataOptions()) {
		c.fault(w.where, "athd's yes is not written down where the guard reads it: it refuses everything", "remove metadata_options from the route's overrides")
	}
	if o.GetProcessingRequestModifier() != nil {
		c.fault(w.where, "an extension changes what athd is told", "remove processing_request_modifier from the route's overrides")
	}
	for _, h := range o.GetGrpcInitialMetadata() {
		if h.GetKey() == envoy.StreamRole {
			c.fault(w.where, "it says once more which role athd has: athd refuses what is said twice", "remove "+envoy.StreamRole+" from the route's grpc_initial_metadata")
		}
	}
	return true
}
