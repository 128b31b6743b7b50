package bench

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

// What a flood is, and what it must leave alone.
const (
	decisionRate = 200 // a second, open loop, asked directly
	floodRate    = 300 // a second, at one door of the companion
	slowOnes     = 16  // connections that send a byte now and then
	anonymous    = 3 * time.Millisecond
)

// floodConfiguration is that of an athd behind an Envoy that everybody can
// reach: registrations wait for an operator, and addresses are those that
// X-Forwarded-For tells, since the flood comes over loopback. Rates of an
// address are off: an attacker has as many as it takes.
const floodConfiguration = `public_url: http://127.0.0.1:8080
listen: {grpc: "unix:%[6]s", http: "%[2]s", admin: "%[3]s"}
store: {url: "unix://:%[4]s@%[1]s/redis.sock", keyset_file: keyset.json, timeout: 900ms}
apps:
- app_id: shop
  name: The Shop
  upstream: http://%[5]s
  available_scopes: ["products:read", "orders:write"]
  oauth: {authorize_endpoint: "https://login.example/authorize", token_endpoint: "https://login.example/token", client_id: athd, client_secret: client-secret}
  scope_rules:
  - {scope: "orders:write", methods: [POST], paths: [/api/orders]}
  - {scope: "products:read", methods: [GET], paths: [/api/products/**]}
admin: {tokens: [{name: ops, token_file: admin.token, role: admin}]}
approval:
  default: review
  rules:
  - {agents: ["http://127.0.0.1:*/honest/**"], action: approve}
  - {agents: ["https://*.partner.example/**", "https://**.other.example/agents/*"], scopes: ["*:read"], action: approve}
limits: {per_address: off, registrations_per_address: off, per_agent: off, sessions_per_agent: 1000000}
development: {allow_http: true, allow_private_hosts: true}
`

// A floodRig is an athd with its Redis, the documents of agents, and a stub
// that says 429 at once.
type floodRig struct {
	*rig
	companion string // host:port
	stub      string
	crowd     *crowd
}

func newFloodRig(t testing.TB) *floodRig {
	t.Helper()
	return newFloodRigOn(t, floodConfiguration)
}

// newFloodRigOn is newFloodRig on another configuration.
func newFloodRigOn(t testing.TB, configuration string) *floodRig {
	t.Helper()
	binary := stage.Binary(t) // built now: what follows has deadlines
	dir, err := os.MkdirTemp("", "athd-flood-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &floodRig{rig: &rig{dir: dir, processes: map[string]int{}}}
	r.redis = realredis.Start(t, "unixsocket "+filepath.Join(r.dir, "redis.sock"))
	r.upstream = reserve.Addr(t)
	r.write(t, "admin.token", floodAdmin+"\n")
	r.keys = stage.NewKeyset(t, filepath.Join(r.dir, "keyset.json"))
	r.seed(t)
	r.companion = reserve.Addr(t)
	r.athd = sidecar{
		binary: binary, socket: filepath.Join(r.dir, "athd.sock"), admin: reserve.Addr(t),
		log: filepath.Join(r.dir, "athd.log"), config: filepath.Join(r.dir, "athd.yaml"),
	}
	r.write(t, "athd.yaml", fmt.Sprintf(configuration, r.dir, r.companion, r.athd.admin, r.redis.Password(), r.upstream, r.athd.socket))
	r.startAthd(t, athdIs, r.athd)
	r.stub = startStub(t)
	r.crowd = newCrowd(t, r.companion)
	return r
}

// A seen is what was seen of one flood.
type seen struct {
	Door      string
	Requests  int
	Each      time.Duration // of athd's processor time, beyond that of the decisions
	P50, P99  time.Duration // of decisions
	Handshake time.Duration // the longest that an honest agent's step took
	Revoke    time.Duration // and an operator's
	Statuses  map[int]int
}

// flood sends to addr what the door makes, and looks at all else meanwhile.
func (r *floodRig) flood(t testing.TB, addr string, d door, messages [][]byte, idle time.Duration, during time.Duration) seen {
	t.Helper()
	out := seen{Door: d.name, Statuses: map[int]int{}}
	var stop atomic.Bool
	var all sync.WaitGroup
	var mu sync.Mutex
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	if d.make != nil {
		for range slowOnes {
			all.Go(func() { trickle(addr, &stop) })
		}
		all.Go(func() {
			var under sync.WaitGroup
			every(floodRate, &stop, func(i int) {
				under.Go(func() {
					status := d.send(client, addr, i)
					mu.Lock()
					defer mu.Unlock()
					out.Requests++
					out.Statuses[status]++
				})
			})
			under.Wait()
		})
	}
	honest := func(into *time.Duration, step func() error) {
		all.Go(func() {
			for !stop.Load() {
				start := time.Now()
				if err := step(); err != nil {
					t.Errorf("%s: %v", d.name, err)
					return
				}
				mu.Lock()
				*into = max(*into, time.Since(start))
				mu.Unlock()
				time.Sleep(250 * time.Millisecond)
			}
		})
	}
	honest(&out.Handshake, func() error { return r.crowd.handshake(client) })
	honest(&out.Revoke, func() error { return r.crowd.revoke(client) })

	before, start := cpu(r.processes[athdIs]), time.Now()
	took := r.decide(t, messages, during)
	used, wall := cpu(r.processes[athdIs])-before, time.Since(start)
	stop.Store(true)
	all.Wait()
	slices.Sort(took)
	out.P50, out.P99 = took[len(took)/2], took[len(took)*99/100]
	if out.Requests > 0 {
		out.Each = max(0, used-time.Duration(float64(idle)*wall.Seconds())) / time.Duration(out.Requests)
	} else {
		out.Each = time.Duration(float64(used) / wall.Seconds()) // a second of nothing but decisions
	}
	return out
}

// decide asks for decisions at a steady rate, whenever the answers come, and
// returns how long each took from when it was due.
func (r *floodRig) decide(t testing.TB, messages [][]byte, during time.Duration) []time.Duration {
	t.Helper()
	conn := dialCheck(t, r.athd.socket)
	n := int(during.Seconds() * decisionRate)
	took, start := make([]time.Duration, n), time.Now()
	var under sync.WaitGroup
	for i := range n {
		due := start.Add(time.Duration(i) * time.Second / decisionRate)
		time.Sleep(time.Until(due))
		under.Go(func() {
			reply, err := ask(conn, messages[i%len(messages)])
			if err != nil || len(reply) == 0 {
				t.Errorf("a decision: %v", err)
			}
			took[i] = time.Since(due)
		})
	}
	under.Wait()
	return took
}

func every(rate int, stop *atomic.Bool, do func(i int)) {
	start := time.Now()
	for i := 0; !stop.Load(); i++ {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		do(i)
	}
}

func (r *floodRig) messages(t testing.TB) [][]byte {
	out := make([][]byte, 500)
	for i := range out {
		out[i] = r.calls[i].check(t)
	}
	return out
}

// BenchmarkFlood floods one door after the other, each beside the stub, and
// prints the table.
func BenchmarkFlood(b *testing.B) {
	r := newFloodRig(b)
	messages := r.messages(b)
	r.decide(b, messages, time.Second)
	const during = 4 * time.Second
	var lines []string
	worst := 0.0
	for range b.N {
		lines = append(lines, fmt.Sprintf("%-44s %9s %9s %9s %9s %7s %10s %9s  %s", "door", "requests", "cpu each", "p50", "p99", "p99/stub", "handshake", "revoke", "answers"))
		idle := r.flood(b, r.companion, door{name: "nothing but decisions"}, messages, 0, during)
		lines = append(lines, fmt.Sprintf("%-44s %9s %9s %9v %9v", idle.Door, "", "", idle.P50.Round(time.Microsecond), idle.P99.Round(time.Microsecond)))
		for _, d := range r.crowd.doors() {
			if !slices.ContainsFunc(strings.Split(*floodDoor, "|"), func(part string) bool { return strings.Contains(d.name, part) }) {
				continue
			}
			s, ratio := r.median(b, d, messages, idle.Each, during)
			worst = max(worst, ratio)
			lines = append(lines, fmt.Sprintf("%-44s %9d %9v %9v %9v %7.2f %10v %9v  %v", s.Door, s.Requests, s.Each.Round(time.Microsecond),
				s.P50.Round(time.Microsecond), s.P99.Round(time.Microsecond), ratio, s.Handshake.Round(time.Millisecond), s.Revoke.Round(time.Millisecond), s.Statuses))
			if s.Each > anonymous {
				b.Errorf("%s: a request costs %v of processor time, more than %v", s.Door, s.Each, anonymous)
			}
			if s.Revoke > time.Second {
				b.Errorf("%s: an operator waited for %v", s.Door, s.Revoke)
			}
		}
	}
	b.ReportMetric(worst, "p99/stub")
	fmt.Println("\n" + strings.Join(lines, "\n")) // of a log ten lines are shown
}

// median floods the stub and athd in turns, and returns the round whose ratio
// of p99 is the median: p99 of some hundred decisions is noisy on a machine
// that others use.
func (r *floodRig) median(b *testing.B, d door, messages [][]byte, idle, during time.Duration) (seen, float64) {
	type round struct {
		seen
		ratio float64
	}
	var all []round
	for range *floodRounds {
		stub := r.flood(b, r.stub, d, messages, idle, during)
		s := r.flood(b, r.companion, d, messages, idle, during)
		all = append(all, round{s, float64(s.P99) / float64(stub.P99)})
	}
	slices.SortFunc(all, func(a, b round) int { return cmp.Compare(a.ratio, b.ratio) })
	m := all[len(all)/2]
	return m.seen, m.ratio
}

// trickle keeps a connection busy with a body that never ends.
func trickle(addr string, stop *atomic.Bool) {
	for !stop.Load() {
		pr, pw := io.Pipe()
		req, err := http.NewRequest("POST", "http://"+addr+"/ath/agents/register", pr)
		if err != nil {
			return
		}
		req.ContentLength = 60000
		req.Header.Set("X-Forwarded-For", "203.0.113."+strconv.Itoa(int(time.Now().UnixNano()%200)))
		go func() {
			for !stop.Load() {
				if _, err := pw.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			pw.Close()
		}()
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
		pr.Close()
		time.Sleep(50 * time.Millisecond)
	}
}
