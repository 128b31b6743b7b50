package bench

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

const (
	tokens = 10_000
	agents = 100
)

// A rig is all that stands between the load and the upstream.
type rig struct {
	envoy    *realenvoy.Envoy
	redis    *realredis.Server
	calls    []call
	dir      string
	noop     map[string]string // paths of the no-op servers' sockets, by variant
	athd     sidecar
	others   map[string]sidecar // athd too, by variant
	upstream string             // host:port
	keys     *tokenstore.Keyset

	processors string         // how they are shared
	processes  map[string]int // ids of the servers by variant, and of Redis
}

// A sidecar is an athd that runs, with its files.
type sidecar struct {
	binary string // path
	socket string // path; Envoy asks there
	admin  string // host:port
	log    string // path
	config string // path of its athd.yaml
}

// A call is what one agent sends.
type call struct{ token, agent string }

const configuration = `public_url: http://127.0.0.1:8080
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
approval: {default: approve}
envoy: {admin: "127.0.0.1:0"%[7]s}
log: {format: json}
`

func newRig(t testing.TB) *rig {
	t.Helper()
	stage.Binary(t)                             // built now: what follows has deadlines
	dir, err := os.MkdirTemp("", "athd-bench-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{dir: dir, noop: map[string]string{plain: dir + "/b.sock", lean: dir + "/b2.sock"}, upstream: startUpstream(t), processes: map[string]int{}}
	r.redis = realredis.Start(t, "unixsocket "+dir+"/redis.sock")
	r.athd = r.configure(t, "athd", stage.Binary(t), "")
	r.keys = stage.NewKeyset(t, filepath.Join(dir, "keyset.json"))
	r.seed(t)
	id := regexp.MustCompile(`process_id:(\d+)`).FindStringSubmatch(r.redis.Client().Info(t.Context(), "server").Val())
	if id == nil {
		t.Fatal("Redis does not tell its process")
	}
	r.processes[redisIs], _ = strconv.Atoi(id[1])
	bootstrap := r.startAthd(t, athdIs, r.athd)
	r.others = map[string]sidecar{
		watchIs: r.configure(t, "watch", stage.Binary(t), ", streams: watched"),
		procIs:  r.configure(t, "proc", stage.Binary(t), ", filter: ext_proc"),
	}
	if path := baseBinary(t); path != "" {
		r.others[baseIs] = r.configure(t, "base", path, "")
	}
	bootstraps := map[string]string{}
	for variant, s := range r.others {
		bootstraps[variant] = r.startAthd(t, variant, s)
	}
	likeAthd := []string{"GOGC=" + r.metric(t, "go_gc_gogc_percent"), "GOMAXPROCS=" + r.metric(t, "go_sched_gomaxprocs_threads")}
	r.processes[plain] = startNoop(t, r.noop[plain], "", likeAthd)
	r.processes[lean] = startNoop(t, r.noop[lean], "yes", likeAthd)
	r.envoy = realenvoy.Start(t, onceForEach(t, bootstrap, bootstraps, r.noop))
	r.processors = pinned(t, r.envoy.PID())
	return r
}

// configure writes the configuration of an athd, with more keys of envoy. All of them
// share Redis and keyset.
func (r *rig) configure(t testing.TB, name, binary, more string) sidecar {
	t.Helper()
	s := sidecar{
		binary: binary, socket: filepath.Join(r.dir, name+".sock"), admin: reserve.Addr(t),
		log: filepath.Join(r.dir, name+".log"), config: filepath.Join(r.dir, name+".yaml"),
	}
	r.write(t, name+".yaml", fmt.Sprintf(configuration, r.dir, reserve.Addr(t), s.admin, r.redis.Password(), r.upstream, s.socket, more))
	return s
}

func (r *rig) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// seed stores tokens as the handshake would.
func (r *rig) seed(t testing.TB) {
	t.Helper()
	store := r.open(t)
	defer store.Close()
	r.calls = make([]call, tokens)
	var wait sync.WaitGroup
	errs := make([]error, agents)
	for i := range agents {
		wait.Go(func() { errs[i] = r.seedAgent(t.Context(), store, i) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	rand.Shuffle(len(r.calls), func(i, j int) { r.calls[i], r.calls[j] = r.calls[j], r.calls[i] })
}

// open opens the store from beside athd.
func (r *rig) open(t testing.TB) *tokenstore.Store {
	t.Helper()
	store, err := tokenstore.Open(tokenstore.Config{URL: r.redis.URL(), Keyset: r.keys, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// seedAgent registers one agent and stores its tokens, each of another user.
func (r *rig) seedAgent(ctx context.Context, store *tokenstore.Store, n int) error {
	now := time.Now()
	id := fmt.Sprintf("https://agents-%d.example/.well-known/agent.json", n)
	client := "client-" + string(ath.AgentTag(id))
	scopes := ath.Scopes{"products:read", "orders:write"}
	err := store.CreateAgent(ctx, tokenstore.Agent{
		ID: id, ClientID: client, Name: "A shopping agent", Purpose: "Finds what is cheap and orders it.",
		Developer:    tokenstore.Developer{Name: "Agents Inc.", ID: "https://agents.example", Contact: "ops@agents.example"},
		RedirectURIs: []string{"https://agents.example/callback"},
		Approvals:    []tokenstore.Approval{{Provider: "shop", Approved: scopes}}, ApprovalExpires: now.Add(24 * time.Hour), Registered: now,
	})
	for i := n; i < len(r.calls) && err == nil; i += agents {
		tag, user := ath.NewTag(), fmt.Sprintf("user-%d", i)
		token := ath.NewToken(tag)
		r.calls[i] = call{token: token.Secret().Reveal(), agent: id}
		err = store.PutConnection(ctx, tag, tokenstore.Connection{
			Agent: id, User: user, Provider: "shop", Access: ath.NewSecret(stage.UserToken), Refresh: ath.NewSecret(stage.UserToken),
			Scopes: scopes, Created: now, Destination: "https://login.example/token athd http://" + r.upstream,
		}, now.Add(time.Hour))
		if err == nil {
			err = store.PutGrant(ctx, token, tokenstore.Grant{
				Agent: id, ClientID: client, User: user, Provider: "shop", Scopes: scopes,
				Connection: tag, Issued: now, Expires: now.Add(time.Hour),
			})
		}
	}
	return err
}

// startAthd runs an athd with its log, events and all, in a file, and returns
// the configuration of Envoy that it prints.
func (r *rig) startAthd(t testing.TB, variant string, s sidecar) (bootstrap string) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.processes[variant] = start(t, s.binary, nil, log, "serve", "--config", s.config)
	t.Cleanup(func() {
		if text, err := os.ReadFile(s.log); err == nil && t.Failed() {
			t.Logf("the end of the log of %s:\n%s", variant, text[max(0, len(text)-4096):])
		}
	})
	await(t, variant, func() bool {
		resp, err := http.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return r.bootstrap(t, s)
}

// bootstrap returns what an athd prints for Envoy.
func (r *rig) bootstrap(t testing.TB, s sidecar) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), s.binary, "bootstrap", "--static", "--config", s.config).Output()
	if err != nil {
		t.Fatalf("%s: athd bootstrap: %v", s.config, err)
	}
	return string(out)
}

// metric returns a value of athd's /metrics, as it is written there.
func (r *rig) metric(t testing.TB, name string) string {
	t.Helper()
	resp, err := http.Get("http://" + r.athd.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("athd has no metric %s", name)
	}
	return string(found[1])
}

// measure loads the clients of a variant, and looks what its server, Redis and
// Envoy used for it.
func (r *rig) measure(t testing.TB, variant string, clients []client, during time.Duration) run {
	t.Helper()
	server, redis, envoy := cpu(r.processes[variant]), cpu(r.processes[redisIs]), cpu(r.envoy.PID())
	out := load(t, clients, during)
	each := time.Duration(out.Answered)
	out.Server = (cpu(r.processes[variant]) - server) / each
	out.Redis = (cpu(r.processes[redisIs]) - redis) / each
	out.Envoy = (cpu(r.envoy.PID()) - envoy) / each
	return out
}
