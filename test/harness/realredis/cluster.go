package realredis

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/test/harness/reserve"
)

const slots = 16384

// StartCluster starts a Redis Cluster of that many masters, without replicas,
// which share the slots evenly and have one password. It returns when each of
// them says that the cluster is whole. [AddReplica] gives a master a replica.
func StartCluster(t testing.TB, masters int, extra ...string) []*Server {
	t.Helper()
	return startCluster(t, masters, nil, extra)
}

// StartClusterTLS is [StartCluster] with TLS in place of plaintext.
func StartClusterTLS(t testing.TB, masters int, files TLS, extra ...string) []*Server {
	t.Helper()
	return startCluster(t, masters, &files, extra)
}

func startCluster(t testing.TB, masters int, files *TLS, extra []string) []*Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	password := rand.Text()
	nodes := make([]*Server, masters)
	for i := range nodes {
		nodes[i] = start(t, clusterNode(t, password, files, extra))
		client := nodes[i].Client()
		from, to := i*slots/masters, (i+1)*slots/masters-1
		if err := client.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
			t.Fatalf("giving slots to a cluster node: %v", err)
		}
		if err := meet(ctx, client, nodes[0]); err != nil {
			t.Fatalf("joining cluster nodes: %v", err)
		}
	}
	for _, node := range nodes {
		awaitCluster(t, ctx, node.Client(), masters)
	}
	return nodes
}

// AddReplica starts a replica of one master of a cluster, and returns when it
// has caught up.
func AddReplica(t testing.TB, master *Server) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	id, err := master.Client().ClusterMyID(ctx).Result()
	if err != nil {
		t.Fatalf("asking a cluster node for its id: %v", err)
	}
	replica := start(t, clusterNode(t, master.password, master.tls, master.extra))
	if err := meet(ctx, replica.Client(), master); err != nil {
		t.Fatalf("joining cluster nodes: %v", err)
	}
	until(t, ctx, "the replica does not know its master", func() bool {
		return replica.Client().ClusterReplicate(ctx, id).Err() == nil
	})
	replica.awaitLink(ctx)
	return replica
}

// clusterNode is a server that is to be one of a cluster. Nodes talk to each other
// at a port of its own, which is reserved too: the default, its port and 10000,
// might be somebody else's.
func clusterNode(t testing.TB, password string, files *TLS, extra []string) Server {
	t.Helper()
	_, bus, _ := strings.Cut(reserve.Addr(t), ":")
	return Server{password: password, tls: files, bus: bus, extra: extra}
}

// meet makes a node known to another one.
func meet(ctx context.Context, node *redis.Client, other *Server) error {
	host, port, _ := strings.Cut(other.addr, ":")
	return node.Do(ctx, "CLUSTER", "MEET", host, port, other.bus).Err()
}

func awaitCluster(t testing.TB, ctx context.Context, node *redis.Client, masters int) {
	t.Helper()
	for {
		known, err := node.ClusterShards(ctx).Result()
		if err != nil {
			t.Fatalf("asking a cluster node: %v", err)
		}
		info, err := node.ClusterInfo(ctx).Result()
		if err == nil && strings.Contains(info, "cluster_state:ok") && len(known) == masters {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cluster does not come together:\n%s", info)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
