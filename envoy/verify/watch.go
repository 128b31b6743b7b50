package verify

import (
	"slices"
	"strings"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"

	"github.com/athd/athd/envoy"
)

// exchanges stand for all that may outlast the token of its agent.
var exchanges = []call{
	{what: "WebSockets", request: map[string]string{":method": "GET", "connection": "Upgrade", "upgrade": "websocket"}, upload: true},
	{what: "uploads of unsaid length", request: map[string]string{":method": "POST", "transfer-encoding": "chunked"}, upload: true},
	{what: "uploads by methods of any name", request: map[string]string{":method": "REPORT"}, upload: true},
	{what: "long uploads", request: map[string]string{":method": "PUT", "content-length": "104857600"}, upload: true},
	{what: "streams of gRPC", request: map[string]string{":method": "POST", "content-type": "application/grpc+proto", "te": "trailers"}, upload: true},
	{what: "long polls that say so", request: map[string]string{":method": "GET", envoy.HeaderPrefer: "respond-async, wait=60"}, upload: true},
	{
		what: "server-sent events", request: map[string]string{":method": "GET", "accept": "text/event-stream"},
		reply: map[string]string{":status": "200", "content-type": "text/event-stream"},
	},
	{
		what: "replies of unsaid length", request: map[string]string{":method": "POST", "content-length": "2"},
		reply: map[string]string{":status": "200", "transfer-encoding": "chunked"},
	},
	{what: "long downloads", request: map[string]string{":method": "GET"}, reply: map[string]string{":status": "200", "content-length": "104857600"}},
}

// verifyHeard looks at the filters behind the decision by which athd hears of
// exchanges, and whether those are there that its configuration names.
func (c *chain) verifyHeard(guards []int) {
	all := c.heard()
	watches := slices.DeleteFunc(slices.Clone(all), func(h heard) bool { return !h.is(envoy.RoleWatch) })
	replies := slices.DeleteFunc(slices.Clone(all), func(h heard) bool { return !h.is(envoy.RoleReply) })
	c.verifyHeardThere(len(watches) > 0, len(replies) > 0)
	for _, h := range all {
		c.verifyHearing(h, guards)
	}
	if len(watches) > 0 {
		c.verifyWatched(watches)
		if late := c.GetDelayedCloseTimeout(); !c.expect.ByHost && (late == nil || late.AsDuration() > 100*time.Millisecond) {
			c.warning(c.manager.where, "a client of HTTP/1 learns a second after it that athd has ended its stream", "set delayed_close_timeout: 0s")
		}
	}
	for _, h := range replies {
		c.verifyCheckedReplies(h)
	}
	if len(replies) > 0 {
		c.verifyWholeReplies(replies, guards)
	}
}

// verifyWholeReplies wants heads and trailers to be heard of, by one filter or by two.
func (c *chain) verifyWholeReplies(replies []heard, guards []int) {
	where := c.at(c.filters[replies[0].at])
	if !slices.ContainsFunc(replies, func(h heard) bool {
		return h.GetProcessingMode().GetResponseHeaderMode() != extprocv3.ProcessingMode_SKIP
	}) {
		c.fault(where, "athd does not hear of replies (response_header_mode: SKIP)", "set processing_mode.response_header_mode: SEND")
	}
	if !slices.ContainsFunc(replies, func(h heard) bool {
		return h.GetProcessingMode().GetResponseTrailerMode() == extprocv3.ProcessingMode_SEND
	}) {
		c.fault(where, "athd does not hear of replies' trailers: credentials that an API echoes there reach agents",
			"take the filter "+envoy.Quote(envoy.ReplyTrailersFilter)+" from what athd bootstrap prints")
	}
	for _, h := range replies {
		if h.GetProcessingMode().GetResponseTrailerMode() == extprocv3.ProcessingMode_SEND && slices.ContainsFunc(c.heard(), func(other heard) bool {
			return other.at < h.at && slices.ContainsFunc(guards, func(i int) bool { return i < other.at }) // those before the guard are found anyway
		}) {
			c.fault(c.whereHeard(h), "trailers go on unchecked where another filter holds a reply's head back and lets it go on: it has to be the last that a reply passes",
				"move it before the other filters by which athd hears of exchanges")
		}
	}
}

// verifyHeardThere says what is missing of what athd's configuration names, and what
// is there besides.
func (c *chain) verifyHeardThere(watched, checked bool) {
	const again = "generate Envoy's configuration again"
	if c.expect.WatchesStreams && !watched {
		c.say(c.ours(), c.where, "no filter tells athd of long exchanges, which it is to watch (envoy.streams: watched): what is revoked goes on until it expires",
			again+", or set envoy.streams: bounded in athd.yaml")
	}
	if !c.expect.WatchesStreams && watched {
		c.warning(c.where, "athd is told of long exchanges, which its configuration does not name (envoy.streams: bounded)",
			again+", or set envoy.streams: watched in athd.yaml")
	}
	if c.expect.ChecksReplies && !checked {
		c.say(c.ours(), c.where, "no filter tells athd of replies, which it is to check (envoy.replies: checked): credentials that an API echoes reach agents",
			again+", or set envoy.replies: cleared in athd.yaml")
	}
	if !c.expect.ChecksReplies && checked {
		c.warning(c.where, "athd is told of replies, which its configuration does not name (envoy.replies: cleared)",
			again+", or set envoy.replies: checked in athd.yaml")
	}
}

// whereHeard names a filter, and the one that makes it.
func (c *chain) whereHeard(h heard) string {
	where := c.at(c.filters[h.at])
	if h.name != "" && h.name != c.filters[h.at].name {
		where += " / " + envoy.Quote(h.name)
	}
	return where
}

// verifyHearing looks at what all of these filters have in common.
func (c *chain) verifyHearing(h heard, guards []int) {
	where := c.whereHeard(h)
	if before := func(i int) bool { return i > h.at }; before(c.checkAt) || slices.ContainsFunc(guards, func(i int) bool { return i > c.checkAt && before(i) }) {
		c.fault(where, "it stands before the guard: athd hears of exchanges that nobody has judged", "move it behind the guard")
	}
	c.verifyObeyed(where, h.ExternalProcessor)
	c.verifyAnswerTime(where, h.ExternalProcessor)
	if writes := h.GetMetadataOptions().GetReceivingNamespaces(); slices.Contains(writes.GetUntyped(), envoy.MetaNamespace) || slices.Contains(writes.GetTyped(), envoy.MetaNamespace) {
		c.fault(where, "its answers write where the guard reads", "remove metadata_options.receiving_namespaces")
	}
	if !slices.Contains(h.GetMetadataOptions().GetForwardingNamespaces().GetUntyped(), envoy.MetaNamespace) {
		c.fault(where, "athd is not told what its decision allowed: it cannot tell whose exchange it is",
			"set metadata_options.forwarding_namespaces.untyped: ["+envoy.MetaNamespace+"]")
	}
	if m := h.GetProcessingMode(); m.GetRequestBodyMode() != extprocv3.ProcessingMode_NONE || m.GetResponseBodyMode() != extprocv3.ProcessingMode_NONE || m.GetRequestTrailerMode() == extprocv3.ProcessingMode_SEND {
		c.fault(where, "it sends bodies or trailers of requests to athd, which reads none and ends the exchange", "set the body modes to NONE and request_trailer_mode to SKIP")
	}
	if timeout := h.GetGrpcService().GetTimeout(); timeout.AsDuration() > 0 {
		c.fault(where, "the stream to athd ends after "+timeout.AsDuration().String()+", whatever becomes of the exchange", "remove grpc_service.timeout")
	}
	if h.GetGrpcService() == nil {
		c.fault(where, "it does not ask by gRPC, which is all that athd speaks", "set grpc_service")
		return
	}
	own := h.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	if own != "" && own == c.service().GetEnvoyGrpc().GetClusterName() {
		c.fault(where, "it has the cluster of decisions, "+envoy.Quote(own)+": streams that stay open keep decisions waiting", "let it ask by a cluster of its own, "+envoy.StreamsCluster)
	}
	c.verifyAthd(where, h.GetGrpcService())
}

// verifyWatched wants each exchange that may outlast a token to be heard of until it
// is over.
func (c *chain) verifyWatched(watches []heard) {
	for _, h := range watches {
		where := c.whereHeard(h)
		switch {
		case h.GetFailureModeAllow() && !c.expect.KeepsStreams && c.expect.WatchesStreams:
			c.fault(where, "exchanges go on where athd hears of them no more (failure_mode_allow), and athd's configuration says that they end (envoy.streams_on_loss: end)",
				"set failure_mode_allow: false, or envoy.streams_on_loss: keep in athd.yaml")
		case !h.GetFailureModeAllow() && c.expect.KeepsStreams:
			c.warning(where, "exchanges end where athd hears of them no more, and athd's configuration says that they go on (envoy.streams_on_loss: keep)",
				"set failure_mode_allow: true, or envoy.streams_on_loss: end in athd.yaml")
		}
		if h.GetProcessingMode().GetResponseTrailerMode() != extprocv3.ProcessingMode_SEND {
			c.fault(where, "athd hears of an exchange's head only, and ends none that goes on", "set processing_mode.response_trailer_mode: SEND")
		}
		c.verifyNothingElseChanged(where, h)
	}
	var missed []string
	for _, s := range exchanges {
		if !slices.ContainsFunc(watches, s.heardBy) {
			missed = append(missed, s.what)
		}
	}
	if len(missed) > 0 {
		c.fault(c.at(c.filters[watches[0].at]), "athd does not hear of "+strings.Join(missed, ", ")+": what is revoked goes on until it expires",
			"take the filter "+envoy.Quote(envoy.WatchFilter)+" from what athd bootstrap prints")
	}
}

// heardBy reports whether a filter tells athd of an exchange: of an upload, with its
// request; of others, with the reply at the latest.
func (s call) heardBy(h heard) bool {
	asked := call{request: s.request}
	if h.GetProcessingMode().GetRequestHeaderMode() != extprocv3.ProcessingMode_SKIP && asked.holds(h.when) == yes {
		return true
	}
	return !s.upload && h.GetProcessingMode().GetResponseHeaderMode() != extprocv3.ProcessingMode_SKIP && s.holds(h.when) == yes
}

// verifyNothingElseChanged wants the answers of a watch to be able to refuse, and to
// change nothing.
func (c *chain) verifyNothingElseChanged(where string, h heard) {
	for _, name := range []string{envoy.HeaderAuthorization, envoy.HeaderCookie, envoy.HeaderSetCookie, ":path", ":authority", "host", "location", "content-length", "transfer-encoding"} {
		if h.GetMutationRules() == nil || mutable(h.GetMutationRules(), name) {
			c.say(c.ours(), where, "an answer that has to change nothing may change "+envoy.Quote(name), "take mutation_rules from what athd bootstrap prints")
			return
		}
	}
}

// verifyCheckedReplies wants each reply to an agent to be heard of, and none that was
// not checked to go on.
func (c *chain) verifyCheckedReplies(h heard) {
	where := c.whereHeard(h)
	if h.GetFailureModeAllow() {
		c.fault(where, "replies that athd has not checked go on (failure_mode_allow)", "set failure_mode_allow: false")
	}
	if c.heals() && !slices.Contains(h.GetMetadataOptions().GetForwardingNamespaces().GetUntyped(), envoy.SentNamespace) {
		c.fault(where, "athd is not told which token a second try had: it does not find that one in replies",
			"set metadata_options.forwarding_namespaces.untyped: ["+envoy.MetaNamespace+", "+envoy.SentNamespace+"]")
	}
	for _, s := range exchanges {
		if s.reply == nil {
			s.reply = map[string]string{":status": "200", "content-length": "2"}
		}
		if s.holds(h.when) != yes {
			c.fault(where, "athd does not hear of all replies to agents: credentials that an API echoes reach them", "take the filter "+envoy.Quote(envoy.ReplyFilter)+" from what athd bootstrap prints")
			break
		}
	}
	for _, name := range []string{"content-length", "transfer-encoding"} {
		if mutable(h.GetMutationRules(), name) {
			c.say(c.ours(), where, "an answer may change "+envoy.Quote(name)+", by which the reply is framed", "take mutation_rules from what athd bootstrap prints")
		}
	}
}

// verifyHeardOn wants the filters by which athd hears of exchanges to run on a target.
func (c *chain) verifyHeardOn(w *target) {
	for _, h := range c.heard() {
		if f := c.filters[h.at]; !f.runs(w) {
			c.fault(w.where, "the filter "+envoy.Quote(f.name)+" is disabled: athd does not hear of what goes on here", "remove what disables it on this route")
			return
		}
	}
}
