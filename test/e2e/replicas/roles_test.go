package replicas

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// noticed is how long athd may take an address for what it was that has moved
// away from a server which still thinks that it is the master: the next look
// (1 s) and its deadline, on a busy machine.
const noticed = 5 * time.Second

// A change is something that happens to who is the master.
type change struct {
	name  string
	long  bool // only with ATHD_REPLICAS=all
	start func(t *testing.T) (on store, happen func())
	// nobody: there is no master afterwards whom athd could reach. Else a
	// revocation is acknowledged by the new one.
	nobody bool
	// split: the old master goes on and knows of nothing, so that athd may need
	// as long as noticed.
	split bool
	// later: one athd connects again after it, and so to the new master; what is
	// taken away through that one, the other must hear of.
	later bool
}

// TestNobodyIsReadFromWhoIsNoMaster changes who is the master in every way,
// under open connections of two athd, and holds that the first call after it
// finds what was revoked, suspended and removed through either of them; where
// there is no master, no call passes.
// F-1
func TestNobodyIsReadFromWhoIsNoMaster(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-58s %-14s %-14s %-14s %-14s %s\n", "what happens to Redis", "revoked", "suspended", "removed", "others' calls", "/readyz afterwards")
	for _, c := range changes() {
		if c.long && os.Getenv("ATHD_REPLICAS") != "all" {
			fmt.Fprintf(&table, "%-58s not run: ATHD_REPLICAS=all runs it\n", c.name)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			fmt.Fprintf(&table, "%-58s %s\n", c.name, c.run(t))
		})
	}
	t.Log(table.String())
}

func (c change) run(t *testing.T) string {
	on, happen := c.start(t)
	on.yaml += ", timeout: 2s" // one that a busy machine does not miss
	p := newPair(t, on)
	ctx := t.Context()
	with := &contest{t: t}
	var agents [4]session // to be revoked, suspended, removed, and one that nobody touches
	for i := range agents {
		s := with.consented(p)
		s.code = with.must(p.token(ctx, p.direct[i%2], s.actor, p.attest(s.actor, "/ath/token"), s.id, s.code), http.StatusOK).text("access_token")
		for range 4 { // through both: each has a connection that is open
			with.must(p.call(ctx, s.actor, s.code), http.StatusOK)
		}
		agents[i] = s
	}
	happen()
	if c.later {
		p.Athd[1].Kill()
		p.start(1)
	}
	if c.split {
		time.Sleep(noticed)
	}
	var cells []string
	if c.nobody {
		for range agents[:3] {
			cells = append(cells, "not possible")
		}
		statuses := p.calls(t, agents[3], http.StatusServiceUnavailable)
		cells = append(cells, statuses)
	} else {
		for i, takeAway := range []func() reply{
			func() reply { return p.revoke(ctx, p.direct[1], agents[0].actor, agents[0].code) },
			func() reply { return p.operate(ctx, p.direct[0], "POST", agents[1].actor, "/suspend") },
			func() reply { return p.leave(ctx, p.direct[1], agents[2].actor) },
		} {
			with.must(patiently(takeAway), http.StatusOK)
			cells = append(cells, p.calls(t, agents[i], http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable))
		}
		start := time.Now()
		r := patiently(func() reply { return p.call(ctx, agents[3].actor, agents[3].code) })
		with.must(r, http.StatusOK)
		cells = append(cells, fmt.Sprintf("200 in %v", time.Since(start).Round(10*time.Millisecond)))
	}
	return fmt.Sprintf("%-14s %-14s %-14s %-14s %s", cells[0], cells[1], cells[2], cells[3], p.readiness(t, c.nobody))
}

// calls calls through both athd and returns the statuses, which must be among
// those wanted.
func (p *pair) calls(t *testing.T, s session, want ...int) string {
	t.Helper()
	var seen []string
	for range 6 {
		r := p.call(t.Context(), s.actor, s.code)
		fits := false
		for _, status := range want {
			fits = fits || r.status == status
		}
		if !fits {
			t.Errorf("a call is answered with %d %s, want one of %v", r.status, r.code, want)
		}
		if status := fmt.Sprint(r.status); len(seen) == 0 || seen[len(seen)-1] != status {
			seen = append(seen, status)
		}
	}
	return strings.Join(seen, " ")
}

// patiently asks until the answer is not "try again", for as long as a failover
// may take.
func patiently(ask func() reply) reply {
	r := ask()
	for end := time.Now().Add(30 * time.Second); r.status == http.StatusServiceUnavailable && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		r = ask()
	}
	return r
}

// readiness returns what both athd say in the end: that they are ready, or,
// with no master, that they are not, and why.
func (p *pair) readiness(t *testing.T, nobody bool) string {
	t.Helper()
	said := make([]string, len(p.Athd))
	for i, a := range p.Athd {
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			status, body := a.Get("/readyz")
			var r struct {
				Status string
				Checks map[string]struct{ Error string }
			}
			if err := json.Unmarshal([]byte(body), &r); err != nil {
				t.Fatalf("/readyz says %d %s", status, body)
			}
			said[i] = strings.TrimSpace(r.Status + " " + r.Checks["store"].Error)
			if nobody && status == http.StatusServiceUnavailable && strings.Contains(said[i], "is a replica") || !nobody && status == http.StatusOK {
				break
			}
			if time.Now().After(end) {
				t.Errorf("/readyz of athd %d says %d %q", i, status, said[i])
				break
			}
		}
	}
	if said[0] == said[1] {
		return said[0]
	}
	return said[0] + " / " + said[1]
}

// operate asks as an operator.
func (p *pair) operate(ctx context.Context, base, method string, a *actor, what string) reply {
	return p.send(ctx, method, base+"/ath/admin/agents/"+a.clientID+what, nil, http.Header{"Authorization": {"Bearer " + stage.AdminKey}})
}

// leave has an agent remove itself. That it is gone, since an answer was lost,
// is as good.
func (p *pair) leave(ctx context.Context, base string, a *actor) reply {
	r := p.send(ctx, "DELETE", base+"/ath/agents/"+a.clientID, nil, http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(a.clientID+":"+a.secret))},
	})
	if r.status == http.StatusNotFound {
		r.status = http.StatusOK
	}
	return r
}

// replicaOf makes a server a replica of another, or with nil a master.
func replicaOf(t *testing.T, s, of *realredis.Server) {
	t.Helper()
	ctx, client := context.WithoutCancel(t.Context()), s.Client()
	host, port := "NO", "ONE"
	if of != nil {
		host, port, _ = strings.Cut(of.Addr(), ":")
		if err := client.ConfigSet(ctx, "masterauth", of.Password()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.ReplicaOf(ctx, host, port).Err(); err != nil {
		t.Fatal(err)
	}
}

// caughtUp returns when n replicas have what was written.
func caughtUp(t *testing.T, master *realredis.Server, n int) {
	t.Helper()
	client := master.Client()
	if err := client.Set(t.Context(), "a-test", "x", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	if have, err := client.Wait(t.Context(), n, 10*time.Second).Result(); err != nil || int(have) < n {
		t.Fatalf("%d of %d replicas have caught up: %v", have, n, err)
	}
}

func changes() []change {
	at := func(url string, change ...string) store {
		return store{yaml: fmt.Sprintf("url: %q", url) + strings.Join(change, ""), settings: tokenstore.Config{URL: url}}
	}
	moving := func(t *testing.T) (on store, old, next *realredis.Server, p *proxy) {
		old = realredis.Start(t)
		next = realredis.StartReplica(t, old)
		p = startProxy(t, old.Addr())
		return at(fmt.Sprintf("redis://:%s@%s", old.Password(), p.addr)), old, next, p
	}
	move := func(t *testing.T, old, next *realredis.Server, p *proxy) {
		caughtUp(t, old, 1)
		replicaOf(t, next, nil)
		addr := next.Addr()
		p.to.Store(&addr)
	}
	return []change{
		{name: "its address moves, and the old master is demoted", later: true, start: func(t *testing.T) (store, func()) {
			on, old, next, p := moving(t)
			return on, func() { move(t, old, next, p); replicaOf(t, old, next) }
		}},
		{name: "its address moves, and the old master does not know", split: true, later: true, start: func(t *testing.T) (store, func()) {
			on, old, next, p := moving(t)
			return on, func() { move(t, old, next, p) }
		}},
		{name: "demoted", nobody: true, start: func(t *testing.T) (store, func()) {
			server := realredis.Start(t)
			other := realredis.Start(t, "masterauth x")
			return at(server.URL()), func() { replicaOf(t, server, other) }
		}},
		{name: "demoted, and takes writes (replica-read-only no)", nobody: true, long: true, start: func(t *testing.T) (store, func()) {
			server := realredis.Start(t, "replica-read-only no")
			next := realredis.StartReplica(t, server)
			return at(server.URL()), func() { replicaOf(t, next, nil); replicaOf(t, server, next) }
		}},
		{name: "demoted, at a socket", nobody: true, long: true, start: func(t *testing.T) (store, func()) {
			dir, err := os.MkdirTemp("", "athd-sock-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			socket := filepath.Join(dir, "r.sock")
			server := realredis.Start(t, "unixsocket "+socket)
			next := realredis.StartReplica(t, server)
			return at(fmt.Sprintf("unix://:%s@%s", server.Password(), socket)), func() { replicaOf(t, next, nil); replicaOf(t, server, next) }
		}},
		{name: "demoted, under the ACL of before WAIT and ROLE", nobody: true, long: true, start: func(t *testing.T) (store, func()) {
			server := realredis.Start(t, "user athd on >hunter2 ~ath:* +ping +get +mget +set +del +exists +pttl +pexpire"+
				" +zadd +zrem +zremrangebyscore +zcard +zrange +scan +eval +evalsha +hello +client|setname")
			next := realredis.StartReplica(t, server)
			return at("redis://athd:hunter2@" + server.Addr()), func() { replicaOf(t, next, nil); replicaOf(t, server, next) }
		}},
		{name: "killed, and back as a replica", nobody: true, start: func(t *testing.T) (store, func()) {
			server := realredis.Start(t)
			next := realredis.StartReplica(t, server)
			return at(server.URL()), func() {
				caughtUp(t, server, 1)
				server.Kill()
				replicaOf(t, next, nil)
				server.StartAsReplica(next)
			}
		}},
		{name: "Sentinel: SENTINEL FAILOVER", long: true, start: func(t *testing.T) (store, func()) {
			w := realredis.StartWatched(t, 2)
			return watched(w), func() { caughtUp(t, w.Servers[0], 2); w.Failover(); w.AwaitFailover(w.Servers[0]) }
		}},
		{name: "Sentinel: the master is killed", long: true, start: func(t *testing.T) (store, func()) {
			w := realredis.StartWatched(t, 2)
			return watched(w), func() { caughtUp(t, w.Servers[0], 2); w.Servers[0].Kill(); w.AwaitFailover(w.Servers[0]) }
		}},
		{name: "cluster: CLUSTER FAILOVER of every master", long: true, start: func(t *testing.T) (store, func()) {
			on, masters, replicas := clusterWithReplicas(t)
			return on, func() {
				for i := range masters {
					failOver(t, replicas[i], slices.Concat(masters, replicas))
				}
			}
		}},
		{name: "cluster: a master is killed", long: true, start: func(t *testing.T) (store, func()) {
			on, masters, replicas := clusterWithReplicas(t)
			return on, func() {
				awaitAgreed(t, replicas[0], slices.Concat(masters, replicas))
				caughtUp0(t, masters[0])
				masters[0].Kill()
				awaitMaster(t, replicas[0])
			}
		}},
	}
}

func clusterWithReplicas(t *testing.T) (on store, masters, replicas []*realredis.Server) {
	masters = realredis.StartCluster(t, 3)
	for _, m := range masters {
		replicas = append(replicas, realredis.AddReplica(t, m))
	}
	url := fmt.Sprintf("redis+cluster://:%s@%s", masters[1].Password(), masters[1].Addr())
	return store{yaml: fmt.Sprintf("url: %q", url), settings: tokenstore.Config{URL: url}}, masters, replicas
}

// failOver makes a cluster's replica the master. It waits until all know whose
// replica it is and agree on the epoch, since they give it no votes before, and
// asks again where Redis gave up after its 5 s: votes are asked for again only
// after 20.
func failOver(t *testing.T, replica *realredis.Server, all []*realredis.Server) {
	t.Helper()
	awaitAgreed(t, replica, all)
	client, end := replica.Client(), time.Now().Add(60*time.Second)
	var asked time.Time
	for ; !strings.Contains(client.Info(t.Context(), "replication").Val(), "role:master"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the replica does not take over")
		}
		if time.Since(asked) > 6*time.Second {
			if err := client.ClusterFailover(t.Context()).Err(); err != nil {
				t.Logf("CLUSTER FAILOVER: %v", err) // it has just become the master, or has lost its own
			}
			asked = time.Now()
		}
	}
}

func awaitAgreed(t *testing.T, replica *realredis.Server, all []*realredis.Server) {
	t.Helper()
	id, err := replica.Client().ClusterMyID(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(60 * time.Second); !agreed(t, all, id); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the cluster does not agree on an epoch and a replica")
		}
	}
}

// agreed reports whether all nodes of a cluster have the same epoch and know
// the replica as one.
func agreed(t *testing.T, all []*realredis.Server, replica string) bool {
	t.Helper()
	epochs := map[string]bool{}
	for _, s := range all {
		nodes, err := s.Client().ClusterNodes(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		knows := false
		for line := range strings.Lines(nodes) {
			knows = knows || strings.HasPrefix(line, replica) && strings.Contains(line, "slave")
		}
		info, err := s.Client().ClusterInfo(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(info, "cluster_current_epoch:")
		epoch, _, _ := strings.Cut(after, "\r")
		epochs[epoch] = true
		if !knows {
			return false
		}
	}
	return len(epochs) == 1
}

func awaitMaster(t *testing.T, s *realredis.Server) {
	t.Helper()
	await(t, s.Client(), "the replica does not take over", "role:master")
}

// caughtUp0 returns when a cluster's replica has what its master wrote.
func caughtUp0(t *testing.T, master *realredis.Server) {
	t.Helper()
	await(t, master.Client(), "the replica does not catch up", ",lag=0")
}

func await(t *testing.T, client *redis.Client, otherwise, want string) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !strings.Contains(client.Info(t.Context(), "replication").Val(), want); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}
