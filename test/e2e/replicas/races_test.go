package replicas

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// clients meet at the same moment, half of them at each athd.
const clients = 64

func TestRacesOnStandalone(t *testing.T) {
	server := realredis.Start(t)
	races(t, "standalone", store{
		yaml: fmt.Sprintf("url: %q", server.URL()), settings: tokenstore.Config{URL: server.URL()},
	})
}

func TestRacesOnCluster(t *testing.T) {
	nodes := realredis.StartCluster(t, 3)
	url := fmt.Sprintf("redis+cluster://:%s@%s", nodes[0].Password(), nodes[0].Addr())
	races(t, "cluster of 3", store{
		yaml: fmt.Sprintf("url: %q", url), settings: tokenstore.Config{URL: url},
	})
}

// Here revocations also wait for a replica.
func TestRacesOnSentinel(t *testing.T) {
	races(t, "sentinel", watched(realredis.StartWatched(t, 1)))
}

func watched(w *realredis.Watched) store {
	return store{
		yaml: fmt.Sprintf("url: %q, sentinel_password: %q, wait_replicas: 1", w.URL(), w.SentinelPassword),
		settings: tokenstore.Config{
			URL: w.URL(), SentinelPassword: ath.NewSecret(w.SentinelPassword),
		},
	}
}

// A contest is one race of the protocol, run again and again.
type contest struct {
	name string
	run  func(c *contest, p *pair)

	t            *testing.T
	look         *tokenstore.Store
	fewest, most int // winners of a round
	took         []time.Duration
}

// races runs every race on a pair and prints what came of it.
func races(t *testing.T, on string, s store) {
	// A deadline that a busy machine can miss says nothing about races.
	s.yaml += ", timeout: 5s"
	p := newPair(t, s)
	n := rounds(t)
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-52s %-13s %6s %7s %14s %8s %8s\n", "race", "store", "rounds", "clients", "winners/round", "p50", "p99")
	for _, c := range contests() {
		t.Run(c.name, func(t *testing.T) {
			c.t, c.look, c.fewest = t, p.look(t), clients
			for range n {
				c.run(&c, p)
			}
			if c.fewest != 1 || c.most != 1 {
				t.Errorf("between %d and %d clients won a round", c.fewest, c.most)
			}
			slices.Sort(c.took)
			fmt.Fprintf(&table, "%-52s %-13s %6d %7d %14s %8s %8s\n", c.name, on, n, clients, fmt.Sprintf("%d..%d", c.fewest, c.most),
				c.took[len(c.took)/2].Round(100*time.Microsecond), c.took[len(c.took)*99/100].Round(100*time.Microsecond))
		})
	}
	t.Log(table.String())
	for i, a := range p.Athd { // Envoy led calls to both
		if _, metrics := a.Get("/metrics"); !strings.Contains(metrics, "athd_decisions_total{") {
			t.Errorf("athd %d decided nothing", i)
		}
	}
}

// meet lets all clients send at once. It counts who won, wants the answer of
// who lost to be one of those given, and returns all answers.
func (c *contest) meet(p *pair, won func(reply) bool, lost []string, send func(i int, base string) reply) []reply {
	c.t.Helper()
	replies := make([]reply, clients)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() {
			<-start
			replies[i] = send(i, p.direct[i%2])
		})
	}
	close(start)
	all.Wait()
	winners := 0
	for _, r := range replies {
		c.took = append(c.took, r.took)
		if won(r) {
			winners++
		} else if heard := fmt.Sprint(r.status, " ", r.code); !slices.Contains(lost, heard) {
			c.t.Errorf("a loser heard %s %v %v, want one of %q", heard, r.body, r.err, lost)
		}
	}
	c.fewest, c.most = min(c.fewest, winners), max(c.most, winners)
	return replies
}

func is(status int) func(reply) bool { return func(r reply) bool { return r.status == status } }

// must is for what no race is about.
func (c *contest) must(r reply, status int) reply {
	c.t.Helper()
	if r.status != status {
		c.t.Fatalf("got %d %v %v, want %d", r.status, r.body, r.err, status)
	}
	return r
}

// attestations are signed before the race, one for each client.
func (p *pair) attestations(a *actor, endpoint string) []string {
	out := make([]string, clients)
	for i := range out {
		out[i] = p.attest(a, endpoint)
	}
	return out
}

// A session on its way, with what its agent and browser know of it.
type session struct {
	*actor
	id, state, upstream, code string
}

// authorized brings a fresh agent to where the browser comes back.
func (c *contest) authorized(p *pair) session {
	c.t.Helper()
	ctx := c.t.Context()
	a, r := p.registered(ctx, p.direct[0])
	c.must(r, http.StatusCreated)
	r = c.must(p.authorize(ctx, p.direct[1], a, p.attest(a, "")), http.StatusOK)
	s := session{actor: a, id: r.text("ath_session_id"), state: stateOf(r)}
	s.upstream = "upstream-code-of-" + s.state
	return s
}

// consented brings it to where the agent has the code.
func (c *contest) consented(p *pair) session {
	c.t.Helper()
	s := c.authorized(p)
	s.code = codeOf(c.must(p.callback(c.t.Context(), p.direct[0], s.allowed()), http.StatusFound))
	return s
}

func (s session) allowed() url.Values { return url.Values{"state": {s.state}, "code": {s.upstream}} }
func (s session) refused() url.Values {
	return url.Values{"state": {s.state}, "error": {"access_denied"}}
}

// stored returns the session as the store has it.
func (c *contest) stored(s session) tokenstore.Session {
	c.t.Helper()
	id, err := ath.ParseSessionID(s.id)
	if err != nil {
		c.t.Fatal(err)
	}
	held, err := c.look.Session(c.t.Context(), id.Tag())
	if err != nil {
		c.t.Fatal(err)
	}
	return held.Value
}

func contests() []contest {
	return []contest{
		{name: "A-5: one attestation, many authorize calls", run: (*contest).attestation},
		{name: "R-2: one agent_id, many registrations", run: (*contest).registration},
		{name: "C-1: one callback, many times", run: (*contest).callbacks},
		{name: "Z-4: one session, allowed and refused", run: (*contest).allowedAndRefused},
		{name: "T-4: one code, many exchanges", run: (*contest).exchange},
		{name: "T-1: the right code among four wrong ones", run: (*contest).guesses},
	}
}

func (c *contest) attestation(p *pair) {
	ctx := c.t.Context()
	a, r := p.registered(ctx, p.direct[0])
	c.must(r, http.StatusCreated)
	one := p.attest(a, "")
	for _, r := range c.meet(p, is(http.StatusOK), []string{"401 INVALID_ATTESTATION"}, func(_ int, base string) reply {
		return p.authorize(ctx, base, a, one)
	}) {
		if details, _ := r.body["details"].(map[string]any); r.status != http.StatusOK && details["reason"] != "replay" {
			c.t.Errorf("a loser was refused for another reason: %v", r.body)
		}
	}
}

func (c *contest) registration(p *pair) {
	ctx := c.t.Context()
	a := p.newActor()
	each := p.attestations(a, "")
	replies := c.meet(p, is(http.StatusCreated), []string{"409 CONFLICT"}, func(i int, base string) reply {
		return p.register(ctx, base, a, each[i])
	})
	for _, r := range replies {
		if r.status == http.StatusCreated { // the credentials handed out are those that count
			a.clientID, a.secret = r.text("client_id"), r.text("client_secret")
			c.must(p.revoke(ctx, p.direct[1], a, "ath_tk_unknown"), http.StatusOK)
		}
	}
}

func (c *contest) callbacks(p *pair) {
	ctx := c.t.Context()
	s := c.authorized(p)
	c.meet(p, is(http.StatusFound), []string{"400 STATE_MISMATCH"}, func(_ int, base string) reply {
		return p.callback(ctx, base, s.allowed())
	})
	if n := p.provider.timesRedeemed(s.upstream); n != 1 {
		c.t.Errorf("the provider's code was sent %d times", n)
	}
}

// allowedAndRefused: a winner moves the session on, by a code or by a refusal;
// everybody hears of the same end.
func (c *contest) allowedAndRefused(p *pair) {
	ctx := c.t.Context()
	s := c.authorized(p)
	for _, r := range c.meet(p, is(http.StatusFound), []string{"400 STATE_MISMATCH"}, func(i int, base string) reply {
		if i/2%2 == 0 {
			return p.callback(ctx, base, s.allowed())
		}
		return p.callback(ctx, base, s.refused())
	}) {
		if code := codeOf(r); code != "" {
			s.code = code
		}
	}
	end := p.token(ctx, p.direct[0], s.actor, p.attest(s.actor, "/ath/token"), s.id, cmp.Or(s.code, "none"))
	switch n := p.provider.timesRedeemed(s.upstream); {
	case s.code != "":
		c.must(end, http.StatusOK)
	case end.code != "USER_DENIED" || n != 0:
		c.t.Errorf("C-5: refused, but the agent hears %d %s, and %d codes were redeemed", end.status, end.code, n)
	}
}

// exchange also holds that a token passes through Envoy at either athd, and
// that one athd's revocation is the other's next refusal (V-4).
func (c *contest) exchange(p *pair) {
	ctx := c.t.Context()
	s := c.consented(p)
	each := p.attestations(s.actor, "/ath/token")
	replies := c.meet(p, is(http.StatusOK), []string{"400 SESSION_NOT_FOUND"}, func(i int, base string) reply {
		return p.token(ctx, base, s.actor, each[i], s.id, s.code)
	})
	token := ""
	for _, r := range replies {
		token = cmp.Or(token, r.text("access_token"))
	}
	for range 4 { // Envoy takes turns
		c.must(p.call(ctx, s.actor, token), http.StatusOK)
	}
	c.must(p.revoke(ctx, p.direct[0], s.actor, token), http.StatusOK)
	for range 4 {
		if r := c.must(p.call(ctx, s.actor, token), http.StatusUnauthorized); r.code != "TOKEN_REVOKED" {
			c.t.Errorf("V-4: the call is refused with %s", r.code)
		}
	}
}

// guesses: four wrong codes are too few to end the session, sixty wrong ones
// are counted as five.
func (c *contest) guesses(p *pair) {
	ctx := c.t.Context()
	s := c.consented(p)
	each := p.attestations(s.actor, "/ath/token")
	unknown := []string{"400 SESSION_NOT_FOUND"}
	c.meet(p, is(http.StatusOK), unknown, func(i int, base string) reply {
		code := s.code
		if i%16 == 3 {
			code = "ath_code_wrong"
		}
		return p.token(ctx, base, s.actor, each[i], s.id, code)
	})

	s = c.consented(p)
	each = p.attestations(s.actor, "/ath/token")
	fewest, most := c.fewest, c.most
	c.meet(p, is(http.StatusOK), unknown, func(i int, base string) reply {
		return p.token(ctx, base, s.actor, each[i], s.id, "ath_code_wrong")
	})
	if c.fewest != 0 || c.most != most {
		c.t.Error("T-1: a wrong code won")
	}
	c.fewest, c.most = fewest, most // nobody should have
	if end := c.stored(s); end.BadCodes != 5 || end.Phase != tokenstore.Consumed {
		c.t.Errorf("T-1: after %d wrong codes, %d are counted and the session is %s", clients, end.BadCodes, end.Phase)
	}
	if r := p.token(ctx, p.direct[0], s.actor, p.attest(s.actor, "/ath/token"), s.id, s.code); r.status != http.StatusBadRequest {
		c.t.Errorf("T-1: after too many wrong codes the right one is answered with %d", r.status)
	}
}
