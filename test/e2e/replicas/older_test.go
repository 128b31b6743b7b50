//go:build older

package replicas

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// each is how often each thing is done beside an older athd.
const each = 4

// refusedByOlder is, for each commit that athd is tried beside, what that one does not
// read, and what it answers. Nothing else may fail there.
var refusedByOlder = map[string]map[string]string{
	"f1b7ae5": {
		"call, connection refreshed at the new one": "500 INTERNAL_ERROR",
		"call, token of grants: per_user":           "500 INTERNAL_ERROR",
	},
	"998e869": {
		"call, token of grants: per_user": "500 INTERNAL_ERROR",
	},
}

// A tally counts what each of the two answered.
type tally struct {
	t    *testing.T
	base string
	rows []string
	seen map[string]*[2]map[string]int
}

var sides = [2]string{"new", "older"}

func (y *tally) count(what string, i int, how string, n int) {
	row := y.seen[what]
	if row == nil {
		row = &[2]map[string]int{{}, {}}
		y.seen[what] = row
		y.rows = append(y.rows, what)
	}
	row[i][how] += n
}

// note counts an answer of one of them, which must be one of these.
func (y *tally) note(what string, i int, r reply, want ...int) {
	y.t.Helper()
	how := strings.TrimSpace(fmt.Sprint(r.status, " ", r.code))
	if r.err != nil {
		how = r.err.Error()
	}
	y.count(what, i, how, 1)
	if slices.Contains(want, r.status) || i == 1 && refusedByOlder[y.base][what] == how {
		return
	}
	y.t.Errorf("%s: the %s one answers %s %v, want %v", what, sides[i], how, r.body, want)
}

// refused counts what both answer to a token that has ended.
func (y *tally) refused(p *pair, what string, s session) {
	y.t.Helper()
	for i := range p.Athd {
		y.note(what, i, p.check(i, s.actor, s.code), http.StatusUnauthorized, http.StatusForbidden)
	}
}

func (y *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-9s %-52s %-34s %s\n", "version", "what", "at the new one", "at the older one")
	for _, what := range y.rows {
		var cells [2]string
		for i, counts := range y.seen[what] {
			var parts []string
			for _, how := range slices.Sorted(maps.Keys(counts)) {
				parts = append(parts, fmt.Sprintf("%d× %s", counts[how], how))
			}
			cells[i] = strings.Join(parts, ", ")
		}
		fmt.Fprintf(&b, "%-9s %-52s %-34s %s\n", y.base, what, cells[0], cells[1])
	}
	return b.String()
}

// An athd of before runs beside this one on one Redis, each asked directly, by gRPC as
// Envoy asks. Handshakes go through both, each sees what the other ends, and only
// records that need the new one are refused by the older.
//
// make test-upgrade builds the older ones. ATHD_OLDER has them, as name=binary.
func TestAnOlderAthdBesideThisOne(t *testing.T) {
	older := strings.Fields(os.Getenv("ATHD_OLDER"))
	if len(older) == 0 {
		t.Fatal("ATHD_OLDER is empty: make test-upgrade builds what this needs")
	}
	for _, text := range older {
		base, binary, _ := strings.Cut(text, "=")
		t.Run(base, func(t *testing.T) {
			y := &tally{t: t, base: base, seen: map[string]*[2]map[string]int{}}
			defer func() { t.Log(y.String()) }()
			y.beside(binary)
			y.perUser(binary)
			for what, how := range refusedByOlder[base] {
				if row := y.seen[what]; row == nil || row[1][how] == 0 {
					t.Errorf("%s: the older one never answers %s: say so no more", what, how)
				}
			}
		})
	}
}

func (y *tally) pair(binary, more string) *pair {
	server := realredis.Start(y.t)
	p := newPair(y.t, store{
		yaml: fmt.Sprintf("url: %q", server.URL()), settings: tokenstore.Config{URL: server.URL()}, older: binary, more: more,
	})
	p.provider.refresh = true
	return p
}

// token is a handshake, each of whose four steps is done by the athd named.
func (y *tally) token(p *pair, what string, steps [4]int) session {
	y.t.Helper()
	ctx := y.t.Context()
	a, r := p.registered(ctx, p.direct[steps[0]])
	y.note(what, steps[0], r, http.StatusCreated)
	r = p.authorize(ctx, p.direct[steps[1]], a, p.attest(a, ""))
	y.note(what, steps[1], r, http.StatusOK)
	s := session{actor: a, id: r.text("ath_session_id"), state: stateOf(r)}
	s.upstream = "upstream-code-of-" + s.state
	r = p.callback(ctx, p.direct[steps[2]], s.allowed())
	y.note(what, steps[2], r, http.StatusFound)
	r = p.token(ctx, p.direct[steps[3]], a, p.attest(a, "/ath/token"), s.id, codeOf(r))
	y.note(what, steps[3], r, http.StatusOK)
	s.code = r.text("access_token")
	return s
}

func (y *tally) beside(binary string) {
	p := y.pair(binary, `revocation_endpoint: "OAUTH/revoke"`)
	p.provider.many = true
	ctx := y.t.Context()
	var bystanders []session
	for n := range 16 { // every way that four steps can be shared
		steps := [4]int{n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3}
		bystanders = append(bystanders, y.token(p, "step of a handshake, of both", steps))
	}
	live := func(what string, all []session, want ...int) {
		y.t.Helper()
		for _, s := range all {
			for i := range p.Athd {
				y.note(what, i, p.check(i, s.actor, s.code), want...)
			}
		}
	}
	live("call", bystanders, http.StatusOK)

	admin := func(i int, method, path string, body any) reply {
		return p.send(ctx, method, p.direct[i]+"/ath/admin/"+path, body, http.Header{"Authorization": {"Bearer " + stage.AdminKey}})
	}
	// connection is what operators see of a session's connection.
	connection := func(s session) (id, user string) {
		y.t.Helper()
		r := admin(0, "GET", "connections?agent="+s.ID(), nil)
		all, _ := r.body["connections"].([]any)
		if len(all) != 1 {
			y.t.Fatalf("the connections are %d %v %v", r.status, r.body, r.err)
		}
		of := all[0].(map[string]any)
		return of["connection_id"].(string), of["user_id"].(string)
	}
	for _, end := range []struct {
		name string
		at   func(i int, s session) reply
		only bool // the new one: f1b7ae5 has no such endpoint
	}{
		{"revoked", func(i int, s session) reply { return p.revoke(ctx, p.direct[i], s.actor, s.code) }, false},
		{"agent suspended", func(i int, s session) reply { return p.operate(ctx, p.direct[i], "POST", s.actor, "/suspend") }, false},
		{"agent removed", func(i int, s session) reply { return p.leave(ctx, p.direct[i], s.actor) }, false},
		{"connection ended", func(i int, s session) reply {
			id, _ := connection(s)
			return admin(i, "POST", "connections/"+id+"/end", nil)
		}, true},
		{"user ended", func(i int, s session) reply {
			_, user := connection(s)
			return admin(i, "POST", "users/end", map[string]any{"user_id": user})
		}, true},
	} {
		for i, side := range sides {
			if end.only && i == 1 && y.base == "f1b7ae5" {
				continue
			}
			before := p.provider.timesRevoked()
			for n := range each {
				s := y.token(p, "step of a handshake, of both", [4]int{n & 1, n >> 1 & 1, 1 - n&1, n & 1})
				live("call", []session{s}, http.StatusOK) // so that both have it in memory
				y.note(end.name+": asked for", i, end.at(i, s), http.StatusOK)
				y.refused(p, "call, "+end.name+" at the "+side+" one", s)
			}
			y.told(p, end.name+": the provider is told", i, before)
		}
	}
	y.refreshed(p)
	live("call of those whom nothing was done to", bystanders, http.StatusOK)
}

// told counts what the provider heard of the ends at one of them. Those of before the
// revocation at providers tell it nothing.
func (y *tally) told(p *pair, what string, i, before int) {
	y.t.Helper()
	if i == 0 {
		for end := time.Now().Add(20 * time.Second); p.provider.timesRevoked() < before+each; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				y.t.Errorf("%s: %d times, want %d", what, p.provider.timesRevoked()-before, each)
				break
			}
		}
	}
	y.count(what, i, "told", p.provider.timesRevoked()-before)
}

// refreshed has connections refreshed by the new one, and ended.
func (y *tally) refreshed(p *pair) {
	ctx := y.t.Context()
	for n := range 2 * each {
		p.provider.life = 1
		s := y.token(p, "step of a handshake, of both", [4]int{n & 1, n >> 1 & 1, 1 - n&1, n & 1})
		p.provider.life = 0
		before := p.provider.timesRefreshed()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			r := p.check(0, s.actor, s.code)
			if r.status == http.StatusOK && p.provider.timesRefreshed() > before {
				break
			}
			if time.Now().After(end) {
				y.t.Fatalf("not refreshed: %d %v %v", r.status, r.body, r.err)
			}
		}
		for i := range p.Athd {
			y.note("call, connection refreshed at the new one", i, p.check(i, s.actor, s.code), http.StatusOK)
		}
		i := n % 2
		r := p.revoke(ctx, p.direct[i], s.actor, s.code)
		y.note("revoke, connection refreshed at the new one", i, r, http.StatusOK)
		if r.status == http.StatusOK {
			y.refused(p, "call, refreshed, revoked at the "+sides[i]+" one", s)
		}
	}
}

// perUser has tokens of grants: per_user, which are for athd that know of it alone.
func (y *tally) perUser(binary string) {
	p := y.pair(binary, "grants: per_user")
	for range each {
		s := y.token(p, "step of a handshake, grants: per_user", [4]int{0, 0, 0, 0})
		for i := range p.Athd {
			y.note("call, token of grants: per_user", i, p.check(i, s.actor, s.code), http.StatusOK)
		}
		y.note("revoke, token of grants: per_user", 0, p.revoke(y.t.Context(), p.direct[0], s.actor, s.code), http.StatusOK)
		for i := range p.Athd {
			y.note("call, revoked token of grants: per_user", i, p.check(i, s.actor, s.code), http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable)
		}
	}
}
