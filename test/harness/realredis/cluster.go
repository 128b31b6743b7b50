package realredis

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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
		nodes[i] = start(t, Server{password: password, tls: files, extra: append(clusterConf(password), extra...)})
		client := nodes[i].Client()
		from, to := i*slots/masters, (i+1)*slots/masters-1
		if err := client.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
			t.Fatalf("giving slots to a cluster node: %v", err)
		}
		host, port, _ := strings.Cut(nodes[0].addr, ":")
		if err := client.ClusterMeet(ctx, host, port).Err(); err != nil {
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
	replica := start(t, Server{password: master.password, tls: master.tls, extra: master.extra})
	host, port, _ := strings.Cut(master.addr, ":")
	if err := replica.Client().ClusterMeet(ctx, host, port).Err(); err != nil {
		t.Fatalf("joining cluster nodes: %v", err)
	}
	until(t, ctx, "the replica does not know its master", func() bool {
		return replica.Client().ClusterReplicate(ctx, id).Err() == nil
	})
	replica.awaitLink(ctx)
	return replica
}

func clusterConf(password string) []string {
	return []string{"cluster-enabled yes", "cluster-node-timeout 5000", "masterauth " + password, "repl-diskless-sync-delay 0"}
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
