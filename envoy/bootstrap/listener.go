package bootstrap

import (
	"fmt"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/provider"
)

// listenerName names the public listener and its routes.
const listenerName = "public"

// listener is the one that agents and browsers reach.
func (g *generator) listener() *listenerv3.Listener {
	e, err := parseListen(g.config.Listen)
	if err != nil {
		g.errs = append(g.errs, fmt.Errorf("envoy: listener: %w", err))
	}
	chain := &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: g.pack(g.connectionManager())},
	}}}
	if t := g.config.ListenTLS; len(t) > 0 {
		chain.TransportSocket = g.downstreamTLS(t)
		chain.TransportSocketConnectTimeout = seconds(silenceSeconds)
	}
	return &listenerv3.Listener{
		Name:                          listenerName,
		Address:                       address(e),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
		FilterChains:                  []*listenerv3.FilterChain{chain},
		ListenerFilters:               []*listenerv3.ListenerFilter{g.firstBytes()},
		ListenerFiltersTimeout:        seconds(silenceSeconds),
	}
}

// firstBytes waits for what a client says first, so that one which says nothing
// is told by the timeout of listener filters: no other ends connections on which
// nothing was ever asked.
func (g *generator) firstBytes() *listenerv3.ListenerFilter {
	name, config := "envoy.filters.listener.http_inspector", g.pack(&httpinspectorv3.HttpInspector{})
	if len(g.config.ListenTLS) > 0 {
		name, config = "envoy.filters.listener.tls_inspector", g.pack(&tlsinspectorv3.TlsInspector{})
	}
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: config}}
}

// connectionManager reads requests strictly: one spelling of a path is left
// when it is routed and judged.
//
// Envoy reads where each request ends and frames it again for the API, so that
// both see the same requests: no request smuggling.
func (g *generator) connectionManager() *hcmv3.HttpConnectionManager {
	h2 := http2Options()
	// Else one bad header would end everybody's connection.
	h2.OverrideStreamErrorOnInvalidHttpMessage = yes()
	m := &hcmv3.HttpConnectionManager{
		StatPrefix: listenerName,
		// Slashes are not merged: /a//b is another path than /a/b (RFC 3986,
		// section 6.2.2), so that athd is shown it as it came, and refuses it.
		NormalizePath:                yes(),
		PathWithEscapedSlashesAction: g.escapedSlashes(),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			// Many servers read x_ath_agent_id as x-ath-agent-id.
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
			IdleTimeout:                  seconds(keepAliveSeconds),
		},
		Http2ProtocolOptions:  h2,
		RequestHeadersTimeout: seconds(silenceSeconds),
		StreamIdleTimeout:     seconds(idleSeconds),
		UseRemoteAddress:      yes(),
		XffNumTrustedHops:     uint32(g.config.TrustedHops),
		// Else "app.example." would be another virtual host than "app.example".
		StripTrailingHostDot: true,
		// The reply streams back unchanged (P-5), its server header too.
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		// Else an API behind TLS and HTTP/2 would be told ":scheme: http".
		SchemeHeaderTransformation:    &corev3.SchemeHeaderTransformation{MatchUpstream: true},
		EarlyHeaderMutationExtensions: g.earlyMutations(),
		AccessLog:                     g.accessLogs(),
		LocalReplyConfig:              g.localReplies(),
		HttpFilters:                   g.filters(),
		RouteSpecifier:                &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: g.routeConfig()},
	}
	if g.config.WatchesStreams {
		// Else a client of HTTP/1 would learn a second later that its stream was ended.
		m.DelayedCloseTimeout = seconds(0)
	}
	return m
}

// escapedSlashes refuses %2F and %5C, unless a provider takes %2F as a part of
// a segment. Then they arrive, and athd refuses them to all other providers:
// Envoy cannot tell routes apart here.
func (g *generator) escapedSlashes() hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction {
	if g.keepsEscapedSlashes() {
		return hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	}
	return hcmv3.HttpConnectionManager_REJECT_REQUEST
}

func (g *generator) keepsEscapedSlashes() bool {
	return slices.ContainsFunc(g.config.Providers.All(), func(p *provider.Provider) bool { return p.EncodedSlash })
}

func (g *generator) admin() *bootstrapv3.Admin {
	if g.config.Admin == "" {
		return nil
	}
	e, err := parseListen(g.config.Admin)
	if err != nil {
		g.errs = append(g.errs, fmt.Errorf("envoy: admin: %w", err))
	}
	return &bootstrapv3.Admin{Address: address(e)}
}

const (
	silenceSeconds   = 5  // for a client's first bytes, its TLS handshake, and all headers of a request
	keepAliveSeconds = 60 // between the requests of a connection

	maxConnections = 10000
	maxHeapBytes   = 512 << 20

	// streamBytes are for each stream that is watched: one over HTTP/2 on both sides
	// takes some 29 KiB by itself, and 34 more for athd to hear of it.
	streamBytes = 48 << 10
)

// heapBytes is where Envoy sheds load.
func (g *generator) heapBytes() uint64 {
	if !g.config.WatchesStreams {
		return maxHeapBytes
	}
	return maxHeapBytes + streamBytes*uint64(max(0, g.config.MaxStreams))
}

// overloadManager makes Envoy refuse before it falls.
func (g *generator) overloadManager() *overloadv3.OverloadManager {
	const heap = "envoy.resource_monitors.fixed_heap"
	action := func(name string, percent float64) *overloadv3.OverloadAction {
		return &overloadv3.OverloadAction{Name: "envoy.overload_actions." + name, Triggers: []*overloadv3.Trigger{{
			Name: heap,
			TriggerOneof: &overloadv3.Trigger_Threshold{
				Threshold: &overloadv3.ThresholdTrigger{Value: percent / 100},
			},
		}}}
	}
	return &overloadv3.OverloadManager{
		RefreshInterval: seconds(0.25),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			{
				Name: "envoy.resource_monitors.global_downstream_max_connections",
				ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: g.pack(
					&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections})},
			},
			{
				Name: heap,
				ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: g.pack(
					&heapv3.FixedHeapConfig{MaxHeapSizeBytes: g.heapBytes()})},
			},
		},
		Actions: []*overloadv3.OverloadAction{
			g.reducesTimeouts(heap),
			action("shrink_heap", 90),
			action("disable_http_keepalive", 92),
			action("stop_accepting_requests", 95),
			action("stop_accepting_connections", 98),
		},
	}
}

// reducesTimeouts makes Envoy wait for less the more of its memory is used, so
// that connections which do nothing yield to others.
func (g *generator) reducesTimeouts(heap string) *overloadv3.OverloadAction {
	const connectionIdle, streamIdle, handshake = overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE,
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_IDLE, overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT
	atLeast := func(timer overloadv3.ScaleTimersOverloadActionConfig_TimerType, n float64) *overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer {
		return &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{
			Timer:          timer,
			OverloadAdjust: &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinTimeout{MinTimeout: seconds(n)},
		}
	}
	return &overloadv3.OverloadAction{
		Name: "envoy.overload_actions.reduce_timeouts",
		Triggers: []*overloadv3.Trigger{{Name: heap, TriggerOneof: &overloadv3.Trigger_Scaled{
			Scaled: &overloadv3.ScaledTrigger{ScalingThreshold: 0.3, SaturationThreshold: 0.8},
		}}},
		TypedConfig: g.pack(&overloadv3.ScaleTimersOverloadActionConfig{TimerScaleFactors: []*overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{
			atLeast(connectionIdle, 2), atLeast(streamIdle, 30), atLeast(handshake, 1),
		}}),
	}
}
