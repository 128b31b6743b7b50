package realredis

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const masterName = "main"

// Watched is a master with replicas, watched by three Sentinels that agree by
// two. They hold a master for dead that has not answered for 1.5 s: with less a
// busy machine has them fail over from one that is well.
type Watched struct {
	Servers          []*Server // the first one is the master at the beginning
	SentinelPassword string    // of the Sentinels themselves

	t         testing.TB
	sentinels []*Server
	ask       []*redis.SentinelClient
}

// StartWatched returns when the replicas have caught up and each Sentinel
// knows all the others: only then can they agree on anything.
func StartWatched(t testing.TB, replicas int, extra ...string) *Watched {
	t.Helper()
	return startWatched(t, replicas, nil, extra)
}

// StartWatchedTLS is [StartWatched] with TLS in place of plaintext, for the
// Sentinels too.
func StartWatchedTLS(t testing.TB, replicas int, files TLS, extra ...string) *Watched {
	t.Helper()
	return startWatched(t, replicas, &files, extra)
}

func startWatched(t testing.TB, replicas int, files *TLS, extra []string) *Watched {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	password := rand.Text()
	w := &Watched{t: t, SentinelPassword: rand.Text()}
	// Any of them may be the replica of any other one day.
	extra = append([]string{"masterauth " + password, "repl-diskless-sync-delay 0"}, extra...)
	master := start(t, Server{password: password, tls: files, extra: extra})
	w.Servers = []*Server{master}
	host, port, _ := net.SplitHostPort(master.addr)
	for range replicas {
		replica := start(t, Server{password: password, tls: files, extra: append(slices.Clone(extra), "replicaof "+host+" "+port)})
		replica.awaitLink(ctx)
		w.Servers = append(w.Servers, replica)
	}
	for range 3 {
		w.sentinels = append(w.sentinels, start(t, Server{password: w.SentinelPassword, sentinel: true, tls: files, extra: []string{
			fmt.Sprintf("sentinel monitor %s %s %s 2", masterName, host, port),
			"sentinel auth-pass " + masterName + " " + password,
			"sentinel sentinel-pass " + w.SentinelPassword,
			"sentinel down-after-milliseconds " + masterName + " 1500",
			"sentinel failover-timeout " + masterName + " 3000",
			fmt.Sprintf("sentinel parallel-syncs %s %d", masterName, max(1, replicas)),
		}}))
	}
	for _, s := range w.sentinels {
		client := redis.NewSentinelClient(s.options())
		t.Cleanup(func() { client.Close() })
		w.ask = append(w.ask, client)
		until(t, ctx, "the Sentinels do not find each other", func() bool {
			facts, err := client.Master(ctx, masterName).Result()
			return err == nil && facts["num-other-sentinels"] == "2" && facts["num-slaves"] == fmt.Sprint(replicas) &&
				facts["flags"] == "master"
		})
	}
	return w
}

// URL is a redis+sentinel:// URL with the servers' password.
func (w *Watched) URL() string {
	var hosts []string
	for _, s := range w.sentinels {
		hosts = append(hosts, s.addr)
	}
	scheme := "redis+sentinel"
	if w.Servers[0].tls != nil {
		scheme = "rediss+sentinel"
	}
	return fmt.Sprintf("%s://:%s@%s/%s/0", scheme, w.Servers[0].password, strings.Join(hosts, ","), masterName)
}

// Failover has a Sentinel make another server the master, without a fault: the
// old one is demoted while its connections are open.
func (w *Watched) Failover() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*patience)
	defer cancel()
	until(w.t, ctx, "no Sentinel fails over", func() bool { return w.ask[0].Failover(ctx, masterName).Err() == nil })
}

// AwaitFailover returns the server that has become master in place of old, as
// soon as one of the Sentinels says so: before that nobody can know.
func (w *Watched) AwaitFailover(old *Server) *Server {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*patience)
	defer cancel()
	var found *Server
	until(w.t, ctx, "the Sentinels agree on no new master", func() bool {
		for _, sentinel := range w.ask {
			addr, err := sentinel.GetMasterAddrByName(ctx, masterName).Result()
			if err != nil || len(addr) != 2 {
				continue
			}
			for _, s := range w.Servers {
				if s != old && s.addr == net.JoinHostPort(addr[0], addr[1]) {
					found = s
				}
			}
		}
		return found != nil
	})
	return found
}

// AwaitLink returns when a replica has caught up with its master, which may
// have given it up meanwhile.
func (s *Server) AwaitLink() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*patience)
	defer cancel()
	s.awaitLink(ctx)
}

// awaitLink returns when a replica has caught up with its master.
func (s *Server) awaitLink(ctx context.Context) {
	s.t.Helper()
	client := s.Client()
	until(s.t, ctx, "the replica does not find its master", func() bool {
		info, err := client.Info(ctx, "replication").Result()
		return err == nil && strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up")
	})
}

// until waits for another process: there is nothing to be notified by.
func until(t testing.TB, ctx context.Context, otherwise string, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal(otherwise)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Tell returns what each server says of its replication, and its log: for a
// test that failed.
func (w *Watched) Tell() string {
	var b strings.Builder
	for i, s := range w.Servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		info, err := s.Client().Info(ctx, "replication").Result()
		cancel()
		fmt.Fprintf(&b, "server %d at %s: %s %v\n%s\n", i, s.addr, info, err, s.output)
	}
	for i, s := range w.sentinels {
		fmt.Fprintf(&b, "sentinel %d at %s:\n%s\n", i, s.addr, s.output)
	}
	return b.String()
}
