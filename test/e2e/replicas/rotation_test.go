package replicas

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// decisionsPerSecond is the load through Envoy while keys rotate.
const decisionsPerSecond = 200

// A rotating is a pair whose keys rotate under load. Each answer that is not the one
// wanted is a failure: nobody is to notice.
type rotating struct {
	*pair
	ctx     context.Context // ends with the load
	callers []session
	ends    atomic.Bool // users are ended, too: see rotate

	mu     sync.Mutex
	done   map[string]int
	failed map[string]int
	took   []time.Duration // decisions
	all    sync.WaitGroup
}

func (r *rotating) note(what string, got reply, want int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[what]++
	if what == "decision" {
		r.took = append(r.took, got.took)
	}
	if got.status == want {
		return true
	}
	r.failed[fmt.Sprintf("%s: %d %s %v %v", what, got.status, got.code, got.body, got.err)]++
	return false
}

// handshake has each step done by one of both athd, and another one the next time.
func (r *rotating) handshake(n int, user string) (s session, ok bool) {
	ctx := context.WithoutCancel(r.ctx)
	at := func(step int) string { return r.direct[n>>step&1] }
	a, got := r.registered(ctx, at(0))
	if !r.note("registration", got, http.StatusCreated) {
		return s, false
	}
	got = r.authorize(ctx, at(1), a, r.attest(a, ""))
	if !r.note("authorization", got, http.StatusOK) {
		return s, false
	}
	s = session{actor: a, id: got.text("ath_session_id"), state: stateOf(got)}
	s.upstream = "user." + user + "." + s.state
	got = r.callback(ctx, at(2), s.allowed())
	if !r.note("consent", got, http.StatusFound) {
		return s, false
	}
	got = r.token(ctx, at(3), a, r.attest(a, "/ath/token"), s.id, codeOf(got))
	s.code = got.text("access_token")
	return s, r.note("token", got, http.StatusOK)
}

// again runs something again and again until the load ends.
func (r *rotating) again(pause time.Duration, do func(n int)) {
	r.all.Go(func() {
		for n := 0; r.ctx.Err() == nil; n++ {
			do(n)
			select {
			case <-r.ctx.Done():
			case <-time.After(pause):
			}
		}
	})
}

func (r *rotating) admin(n int, method, path string, body any) reply {
	return r.send(context.WithoutCancel(r.ctx), method, r.direct[n%2]+"/ath/admin/"+path, body, http.Header{"Authorization": {"Bearer " + stage.AdminKey}})
}

// start begins the load: decisions, and beside them whatever writes records.
func (r *rotating) start(renewals map[ath.RenewalToken]session) {
	ctx := context.WithoutCancel(r.ctx)
	r.all.Go(func() {
		tick := time.NewTicker(time.Second / decisionsPerSecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-r.ctx.Done():
				return
			case <-tick.C:
				s := r.callers[n%len(r.callers)]
				r.all.Go(func() { r.note("decision", r.call(ctx, s.actor, s.code), http.StatusOK) })
			}
		}
	})
	r.again(20*time.Millisecond, func(n int) { // of users with other agents
		s, ok := r.handshake(n, fmt.Sprint("u", n%5))
		if !ok || !r.note("first call", r.call(ctx, s.actor, s.code), http.StatusOK) || n%2 == 0 {
			return
		}
		if r.note("revocation", r.revoke(ctx, r.direct[n>>1&1], s.actor, s.code), http.StatusOK) {
			r.note("revoked call", r.call(ctx, s.actor, s.code), http.StatusUnauthorized)
		}
	})
	r.again(100*time.Millisecond, func(n int) {
		user := fmt.Sprint("ended", n)
		s, ok := r.handshake(n, user)
		if !ok {
			return
		}
		got := r.admin(n, "GET", "connections?user=user."+user+".", nil)
		r.note("listing", got, http.StatusOK)
		if all, _ := got.body["connections"].([]any); len(all) != 1 {
			got.status = 0
			r.note("listing of the user's one connection", got, http.StatusOK)
		}
		if !r.ends.Load() {
			return
		}
		r.note("end of a user", r.admin(n+1, "POST", "users/end", map[string]any{"user_id": "user." + user + "."}), http.StatusOK)
		r.note("ended call", r.call(ctx, s.actor, s.code), http.StatusUnauthorized)
	})
	for renewal, s := range renewals {
		r.again(50*time.Millisecond, func(n int) {
			got := r.send(ctx, "POST", r.direct[n%2]+"/ath/token", map[string]any{
				"grant_type": "refresh_token", "client_id": s.clientID, "client_secret": s.secret,
				"agent_attestation": r.attest(s.actor, "/ath/token"), "refresh_token": renewal.Secret().Reveal(),
			}, nil)
			if r.note("renewal", got, http.StatusOK) {
				r.note("renewed call", r.call(ctx, s.actor, got.text("access_token")), http.StatusOK)
			}
		})
	}
}

// standing gives some callers a renewal, as consent pages do.
func (r *rotating) standing(t *testing.T, look *tokenstore.Store, some []session) map[ath.RenewalToken]session {
	t.Helper()
	out := map[ath.RenewalToken]session{}
	for _, s := range some {
		token, err := ath.ParseToken(s.code)
		if err != nil {
			t.Fatal(err)
		}
		held, err := look.Grant(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		g, renewal := held.Value, ath.NewRenewalToken(token.Tag())
		g.Renewal = renewal.Digest()
		terms := ath.RenewalTerms{Max: 48 * time.Hour, Idle: 24 * time.Hour}
		err = look.PutRenewal(t.Context(), renewal, tokenstore.Renewal{
			Agent: g.Agent, ClientID: g.ClientID, User: g.User, Provider: g.Provider, ProviderAs: "shop", Scopes: g.Scopes,
			Connection: g.Connection, Shared: g.Shared, Epoch: g.Epoch, Terms: terms, Issued: g.Issued, Used: g.Issued, Generation: g.Generation,
		}, ath.NewToken(token.Tag()), g)
		if err != nil {
			t.Fatal(err)
		}
		out[renewal] = s
	}
	return out
}

// keys runs athd keys, and reads what it prints.
func (r *rotating) keys(t *testing.T, out any, args ...string) {
	t.Helper()
	began := time.Now()
	stdout, stderr, err := stage.Run(t, r.Home[0], append(append([]string{"keys"}, args...), "-o", "json")...)
	if err == nil {
		err = json.Unmarshal([]byte(stdout), out)
	}
	if err != nil {
		t.Fatalf("athd keys %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	t.Logf("athd keys %s: %v", args[0], time.Since(began).Round(time.Millisecond))
}

// reload has both athd read the keyset now.
func (r *rotating) reload() {
	for _, athd := range r.Athd {
		athd.Signal(syscall.SIGHUP)
	}
}

type keysPrinted struct {
	Added   uint32         `json:"added"`
	Records map[string]int `json:"records"`
	Indexes int            `json:"indexes"`
	Shared  int            `json:"shared"`
	Keys    []keyPrinted   `json:"keys"`
}

type keyPrinted struct {
	ID        uint32         `json:"id"`
	Primary   bool           `json:"primary"`
	Records   map[string]int `json:"records"`
	Retirable bool           `json:"retirable"`
}

// rotate takes the keyset through one rotation, by the commands. The mark of a
// user's end stays below the tags of the keys that there were, for an hour, and keeps
// these: so users are ended in the last rotation, once every athd has the fresh key.
func (r *rotating) rotate(t *testing.T, n int, last bool) {
	t.Helper()
	var added, edited, rewrapped, status, after keysPrinted
	r.keys(t, &added, "add")
	fresh := fmt.Sprint(added.Added)
	r.reload()
	r.keys(t, &edited, "promote", fresh, "--wait", "20s", "--replicas", "2")
	r.reload()
	r.ends.Store(last)
	r.keys(t, &rewrapped, "rewrap", "--wait", "20s", "--replicas", "2")
	r.keys(t, &status, "status")
	everyKind(t, &rewrapped, &status)
	var old uint32
	for _, k := range status.Keys {
		if k.Primary {
			continue
		}
		if old = k.ID; !k.Retirable || len(k.Records) > 0 {
			t.Errorf("before it goes the old key is needed: %+v", k)
		}
		t.Logf("status: key %d has sealed %v; nothing needs it: %v", old, k.Records, k.Retirable)
	}
	r.keys(t, &edited, "retire", fmt.Sprint(old), "--keep", fmt.Sprintf("keyset-before-%d.json", n), "--wait", "20s")
	r.reload()
	r.keys(t, &after, "status")
	if len(after.Keys) != 1 || !after.Keys[0].Primary {
		t.Errorf("afterwards there are %+v", after.Keys)
	}
}

// F-3; proves: V-4, P-6, T-8
//
// Keys rotate while two athd behind one Envoy decide 200 times a second, and
// handshakes, refreshes, renewals, revocations, listings and ends of users go on
// beside it: no request fails. Records of every kind are sealed again meanwhile, and
// before the old key goes, status says that nothing needs it.
//
// By default it is one rotation; ATHD_ROTATIONS says how many there are, and
// ATHD_RECORDS how many agents with a connection are stored beforehand.
func TestKeysRotateAndNoRequestFails(t *testing.T) {
	for name, more := range map[string]string{
		"an agent's own connections": "",
		"users' agents share theirs": ", grants: per_user",
	} {
		t.Run(name, func(t *testing.T) {
			server := realredis.Start(t)
			issuer, refreshes := publishIssuer(t), 5
			if more != "" {
				refreshes = 0
			}
			p := newPair(t, store{
				yaml: fmt.Sprintf("url: %q", server.URL()), settings: tokenstore.Config{URL: server.URL(), Upstream: queued{}},
				apps: appOf(issuer), more: `revocation_endpoint: "OAUTH/revoke"` + more, top: "tokens: {renewal: {max: 48h, idle: 24h}}\n",
			})
			p.Client.Timeout = 20 * time.Second
			p.provider.users, p.provider.refresh, p.provider.life, p.provider.again = true, true, 2, 4
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			r := &rotating{pair: p, ctx: ctx, done: map[string]int{}, failed: map[string]int{}}
			for n := range 10 {
				s, ok := r.handshake(n, fmt.Sprint("u", n%5))
				if !ok {
					t.Fatalf("before the load: %v", r.failed)
				}
				r.callers = append(r.callers, s)
			}
			look := p.look(t)
			learn(t, look, issuer)
			r.rotatedBefore(t, look)
			renewals := r.standing(t, look, r.callers[:3])
			r.preload(t, look, number(t, "ATHD_RECORDS", 1000))
			look.Close()
			r.start(renewals)
			rotations := number(t, "ATHD_ROTATIONS", 1)
			for n := range rotations {
				r.rotate(t, n, n == rotations-1)
			}
			r.settled(t, refreshes)
			stop()
			r.all.Wait()
			r.judge(t)
		})
	}
}

func number(t *testing.T, name string, or int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return or
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q", name, text)
	}
	return n
}

// settled waits until the load has gone on without the old key for a while. Shared
// connections get new tokens by the next consent before theirs are to be refreshed.
func (r *rotating) settled(t *testing.T, refreshes int) {
	t.Helper()
	decisions := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.done["decision"]
	}
	before, first := r.provider.timesRefreshed(), decisions()
	for end := time.Now().Add(20 * time.Second); r.provider.timesRefreshed() < before+refreshes || decisions() < first+2*decisionsPerSecond; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("after the rotation there were %d decisions, and %d tokens refreshed", decisions()-first, r.provider.timesRefreshed()-before)
			return
		}
	}
}

// judge wants that nobody noticed, and prints what was done.
func (r *rotating) judge(t *testing.T) {
	t.Helper()
	for how, n := range r.failed {
		t.Errorf("%d times: %s", n, how)
	}
	if r.done["end of a user"] == 0 {
		t.Error("no user was ended meanwhile")
	}
	slices.Sort(r.took)
	at := func(part float64) time.Duration {
		return r.took[min(len(r.took)-1, int(part*float64(len(r.took))))].Round(100 * time.Microsecond)
	}
	var done []string
	for _, what := range slices.Sorted(maps.Keys(r.done)) {
		done = append(done, fmt.Sprintf("%d %s", r.done[what], what))
	}
	t.Logf("%d kinds of failure; decisions p50 %v, p99 %v, longest %v; %d refreshes; %s",
		len(r.failed), at(0.5), at(0.99), at(1), r.provider.timesRefreshed(), strings.Join(done, ", "))
	for _, athd := range r.Athd {
		_, metrics := athd.Get("/metrics")
		for line := range strings.Lines(metrics) {
			if strings.HasPrefix(line, "athd_records_unreadable_total") && !strings.HasSuffix(strings.TrimSpace(line), " 0") {
				t.Errorf("a record did not open: %s", line)
			}
		}
	}
}
