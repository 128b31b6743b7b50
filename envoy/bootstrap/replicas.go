package bootstrap

import (
	"errors"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
)

// How Envoy notices that an athd went away. athd goes on answering for longer
// than it takes to be noticed: see drain_delay.
const (
	connectSeconds       = 0.25 // to athd, which is near
	healthSeconds        = 1
	healthTimeoutSeconds = 0.5
)

// alike wants endpoints that one cluster can hold.
func alike(all []envoy.Endpoint) error {
	if len(all) == 0 {
		return errors.New("there is no address")
	}
	sockets := 0
	for i, e := range all {
		if slices.ContainsFunc(all[:i], e.Same) {
			return errors.New("the address " + envoy.Quote(e.String()) + " is there twice")
		}
		if e.Path != "" {
			sockets++
		}
	}
	for _, e := range all {
		if sockets > 0 && !e.Static() {
			return errors.New("a Unix socket and the name " + envoy.Quote(e.Host) + " cannot stand beside each other")
		}
	}
	return nil
}

// asksHealth completes a health check.
func asksHealth(h *corev3.HealthCheck) *corev3.HealthCheck {
	h.Timeout = seconds(healthTimeoutSeconds)
	h.Interval = seconds(healthSeconds)
	h.NoTrafficInterval = seconds(healthSeconds) // else it is asked once a minute until the first request
	h.UnhealthyThreshold = wrapperspb.UInt32(2)  // for silence; a plain no counts at once
	h.HealthyThreshold = wrapperspb.UInt32(1)
	return h
}

// outlives lets a cluster of athds go on while one of them is away.
func (g *generator) outlives(c *clusterv3.Cluster) {
	// A reply is athd's own word, whatever its status: what counts against a replica
	// is that none came.
	c.OutlierDetection = &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors:  true,
		ConsecutiveLocalOriginFailure:   wrapperspb.UInt32(2),
		Consecutive_5Xx:                 wrapperspb.UInt32(1000),
		EnforcingConsecutive_5Xx:        wrapperspb.UInt32(0),
		EnforcingSuccessRate:            wrapperspb.UInt32(0),
		EnforcingLocalOriginSuccessRate: wrapperspb.UInt32(0),
		Interval:                        seconds(healthSeconds),
		BaseEjectionTime:                seconds(2),
		MaxEjectionTime:                 seconds(10),
		MaxEjectionPercent:              wrapperspb.UInt32(100),
	}
	// Envoy's default of three at once would keep the others from being tried again.
	c.CircuitBreakers.Thresholds[0].MaxRetries = wrapperspb.UInt32(maxRequests)
	// While none is healthy all are asked: a no may be out of date, and who
	// cannot be reached refuses anyway. One that is healthy is enough not to.
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 1}}
	// A machine that lost its power closes no connection.
	c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
		KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: wrapperspb.UInt32(10), KeepaliveInterval: wrapperspb.UInt32(5),
	}}
}

// otherReplica makes a second attempt go to another replica than the first.
func (g *generator) otherReplica() *corev3.RetryPolicy_RetryHostPredicate {
	return &corev3.RetryPolicy_RetryHostPredicate{
		Name:       "envoy.retry_host_predicates.previous_hosts",
		ConfigType: &corev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: g.pack(&previousv3.PreviousHostsPredicate{})},
	}
}

// What is worth a second attempt: that no answer came; or only that the request
// cannot have arrived.
const (
	retryReads = envoy.RetryUnsent + ",reset"
)

// hostSelections is how often another replica is looked for. They are taken in
// turn, so that the next one is another: not so by the number of requests under
// way, of which the replica that has just failed has the fewest.
const hostSelections = 5

// asksAgain is the one retry of a check on a connection that never answered. A
// check changes nothing, so that it may be made twice. Envoy takes the longest
// interval for the time that each try may take, too (perTry says otherwise): it
// must not cut off a decision that athd and its store still have time for.
func (g *generator) asksAgain() *corev3.RetryPolicy {
	p := &corev3.RetryPolicy{
		RetryOn: retryReads, NumRetries: wrapperspb.UInt32(1),
		RetryBackOff: &corev3.BackoffStrategy{BaseInterval: seconds(0.001), MaxInterval: seconds(authzSeconds)},
	}
	// Envoy makes the predicate again for each check, which costs it a twentieth
	// of a request.
	if g.replicated() {
		p.RetryHostPredicate = []*corev3.RetryPolicy_RetryHostPredicate{g.otherReplica()}
		p.HostSelectionRetryMaxAttempts = hostSelections
	}
	return p
}

// replicated reports whether there may be a second replica of athd to ask.
func (g *generator) replicated() bool {
	e, err := envoy.ParseEndpoint(g.config.Authz[0])
	return err == nil && (len(g.config.Authz) > 1 || !e.Static())
}

// perTryMillis is how long one replica may take over a check where there is
// another one to ask: two tries are within authzSeconds.
const perTryMillis = "450"

// perTry bounds a try of a check where there may be a second replica, so that
// one that hangs is not waited for. The retry policy of a gRPC service cannot
// say so; Envoy reads it from this header, and takes it away.
func (g *generator) perTry() []*corev3.HeaderValue {
	if !g.replicated() {
		return nil
	}
	return []*corev3.HeaderValue{{Key: "x-envoy-upstream-rq-per-try-timeout-ms", Value: perTryMillis}}
}

// sendsAgain is the one retry of a request to the companion, which may change
// something: only of one that cannot have arrived.
func (g *generator) sendsAgain() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn: envoy.RetryUnsent, NumRetries: wrapperspb.UInt32(1),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(0.001), MaxInterval: seconds(0.01)},
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: g.pack(&previousv3.PreviousHostsPredicate{})},
		}},
		HostSelectionRetryMaxAttempts: hostSelections,
	}
}
