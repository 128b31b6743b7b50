package verify

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// verifyReplicas looks at what happens to requests while one of several athds goes
// or is away. A mesh has its own ways.
func (c *chain) verifyReplicas(where string, cluster *clusterv3.Cluster, service *corev3.GrpcService) {
	endpoints := c.destinationOf(cluster).endpoints
	several := len(endpoints) > 1 || len(endpoints) == 1 && !endpoints[0].Static()
	if !several || c.expect.ByHost {
		return
	}
	if len(cluster.GetHealthChecks()) == 0 {
		c.warning(where, "athd's health is not asked: a replica that is going is asked until it is gone, and its requests fail", "add a gRPC health check")
	}
	if service.GetRetryPolicy().GetRetryOn() == "" {
		c.warning(where, "a check that a replica never answered is not made again: while one goes, requests fail", "set grpc_service.retry_policy, with one retry")
	}
	if n := service.GetRetryPolicy().GetNumRetries().GetValue(); n > 3 {
		c.warning(where, "a check is made again many times: while athd is slow, it gets more to do", "set grpc_service.retry_policy.num_retries to 1")
	}
}
