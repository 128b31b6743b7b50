package bootstrap

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
)

// What athd hears of an exchange behind its decision, by ext_proc filters behind the
// guard. They are told what the decision said, and nothing else than heads.

// How soon Envoy notices that the athd that watches does not answer any more. athd
// takes pings that are 2 s apart.
const (
	pingSeconds        = 4
	pingTimeoutSeconds = 3
)

// streamsPerConnection is how many exchanges share a connection to athd, which hears
// of each by a stream of its own: one connection would queue what they all say.
const streamsPerConnection = 1000

// hears reports whether athd hears of exchanges after its decision.
func (c Config) hears() bool { return c.WatchesStreams || c.ChecksReplies }

// hearing are those filters.
func (g *generator) hearing() []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	if g.config.ChecksReplies {
		// Trailers pass it last: a filter behind it in the chain that holds a head back, and
		// then lets it go on, would have trailers go on with it that this one holds back.
		out = append(out, g.filter(envoy.ReplyTrailersFilter, g.chooses(choice{g.held(), envoy.ReplyTrailersFilter, g.checksReply(extprocv3.ProcessingMode_SKIP, extprocv3.ProcessingMode_SEND)})))
	}
	if g.config.WatchesStreams {
		out = append(out, g.filter(envoy.WatchFilter, g.chooses(
			choice{all(g.longRequest(), g.held()), envoy.WatchFilter, g.watches(extprocv3.ProcessingMode_SEND, extprocv3.ProcessingMode_SKIP)},
			choice{all(opposite(g.shortReply()), g.held()), envoy.WatchReplyFilter, g.watches(extprocv3.ProcessingMode_SKIP, extprocv3.ProcessingMode_SEND)},
		)))
	}
	if g.config.ChecksReplies {
		// Replies pass it before the watch, which is asked in vain about what this refuses.
		out = append(out, g.filter(envoy.ReplyFilter, g.chooses(choice{g.held(), envoy.ReplyFilter, g.checksReply(extprocv3.ProcessingMode_SEND, extprocv3.ProcessingMode_SKIP)})))
	}
	return out
}

// watches tells athd of one head. It wants the reply's trailers, too, which keeps the
// stream to athd open until the exchange is over. athd ends an exchange by a reply of
// its own, which Envoy obeys at any time; so that failures may be allowed where
// streams outlive athd.
func (g *generator) watches(request, reply extprocv3.ProcessingMode_HeaderSendMode) *extprocv3.ExternalProcessor {
	p := g.processor(envoy.StreamsCluster, envoy.RoleWatch)
	p.ProcessingMode = phases(request, reply, extprocv3.ProcessingMode_SEND)
	p.FailureModeAllow = g.config.KeepsStreams
	p.ForwardRules = &extprocv3.HeaderForwardingRules{AllowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{
		exact(":method"), exact(envoy.HeaderUpgrade), exact(":status"), exact("content-type"),
	}}}
	p.MetadataOptions = &extprocv3.MetadataOptions{ForwardingNamespaces: ofDecision()}
	p.MutationRules.AllowExpression = &matcherv3.RegexMatcher{Regex: mayRefuse}
	return p
}

// mayRefuse is a pattern for the headers of athd's refusals.
const mayRefuse = "^(content-type|cache-control|retry-after|www-authenticate|x-ath-[!-~]*)$"

// checksReply tells athd of a reply's head or of its trailers, which it may change but
// for what frames the reply. What cannot be checked is refused.
func (g *generator) checksReply(head, trailers extprocv3.ProcessingMode_HeaderSendMode) *extprocv3.ExternalProcessor {
	p := g.processor(envoy.StreamsCluster, envoy.RoleReply)
	p.ProcessingMode = phases(extprocv3.ProcessingMode_SKIP, head, trailers)
	p.MetadataOptions = &extprocv3.MetadataOptions{ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{
		Untyped: []string{envoy.MetaNamespace, envoy.SentNamespace},
	}}
	p.MutationRules = &mutationv3.HeaderMutationRules{
		DisallowSystem:     yes(),
		DisallowExpression: &matcherv3.RegexMatcher{Regex: "^(content-length|transfer-encoding|connection|upgrade|trailer|te)$"},
		DisallowIsError:    yes(),
	}
	return p
}

// streamsCluster leads to athd once more.
func (g *generator) streamsCluster() *clusterv3.Cluster {
	c := g.athdCluster(envoy.StreamsCluster, g.config.Authz)
	c.HealthChecks = []*corev3.HealthCheck{asksHealth(&corev3.HealthCheck{HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{
		GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{ServiceName: envoy.ProcessService},
	}})}
	c.TypedExtensionProtocolOptions = g.byHTTP2(&corev3.Http2ProtocolOptions{
		MaxConcurrentStreams: wrapperspb.UInt32(streamsPerConnection),
		// An athd that hangs, or whose machine is gone, closes nothing: else what it
		// watches would go on until its token ends.
		ConnectionKeepalive: &corev3.KeepaliveSettings{Interval: seconds(pingSeconds), Timeout: seconds(pingTimeoutSeconds)},
	})
	return c
}
