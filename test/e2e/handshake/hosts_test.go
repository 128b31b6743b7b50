package handshake

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/tokenstore"
)

// eventsOf returns the events of a kind that were written since.
func (w *world) eventsOf(since int, kind string) (all []map[string]any) {
	for line := range strings.Lines(w.log()[since:]) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["event"] == kind {
			all = append(all, e)
		}
	}
	return all
}

func number(r reply, field string) int { n, _ := r.json[field].(float64); return int(n) }

// An operator stops all agents of a host, whatever they are called and whenever
// they come.
// S-4
// proves: R-6
func TestHostsAreSuspended(t *testing.T) {
	w := newWorld(t)
	other := w.twin()
	a, tokenA := w.live(t, "a")
	b, tokenB := w.live(t, "b")
	waiting := w.actor("waiting") // has a consented session by then
	waiting.register("gallery", "pictures:read")
	link, session := waiting.authorize("gallery", []string{"pictures:read"})
	page := w.consent(w.newBrowser(), link)
	code := athCode.FindString(page.Body)

	since := len(w.log())
	r := w.operate("POST", "/ath/admin/hosts/suspend", `{"host":"127.0.0.1."}`)
	if r.status != 200 || r.text("host") != "127.0.0.1" || number(r, "suspended_agents") != 3 || number(r, "already_suspended_agents") != 0 {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if e := w.eventsOf(since, "host_suspended"); len(e) != 1 || e[0]["host"] != "127.0.0.1" || e[0]["by"] != "ops" || e[0]["decision_id"] == "" {
		t.Errorf("U-1: %v", e)
	}
	if e := w.eventsOf(since, "agent_suspended"); len(e) != 3 || e[0]["by"] != "ops" || e[0]["agent_id"] == "" {
		t.Errorf("U-1: %v", e)
	}
	for who, token := range map[*actor]string{a: tokenA, b: tokenB} {
		if got := w.decide(t, who, token); got == authz.Allowed || got == authz.StoreUnavailable {
			t.Errorf("the token of %s is %s", who.id, got)
		}
	}
	for _, at := range []string{w.public, other} {
		for _, name := range []string{"c", "d;x", "deep/e"} {
			r := w.postTo(at, "/ath/agents/register", w.actor(name+fmt.Sprint(at == other)).registration("gallery", "pictures:read"))
			w.refusedAs(t, r, 403, "AGENT_UNAPPROVED")
		}
		w.refusedAs(t, w.postTo(at, "/ath/agents/register", a.registration("shop", "products:read")), 403, "AGENT_UNAPPROVED")
		w.refusedAs(t, w.postTo(at, "/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "AGENT_UNAPPROVED")
	}
	w.refusedAs(t, w.operate("POST", a.adminPath()+"/resume", ""), 409, "CONFLICT")

	t.Run("who registers while it is done gets nothing either", func(t *testing.T) {
		// Their records are as if the listing had not seen them.
		for _, who := range []*actor{a, waiting} {
			held, err := w.store.Agent(t.Context(), ath.AgentTag(who.id))
			if err != nil {
				t.Fatal(err)
			}
			next := held.Value
			next.Suspended = false
			if err := w.store.SwapAgent(t.Context(), held, next); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range []string{w.public, other} {
			w.refusedAs(t, w.postTo(at, "/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "AGENT_UNAPPROVED")
			r := w.postTo(at, "/ath/token", waiting.exchange(session, code))
			w.refusedAs(t, r, 403, "AGENT_UNAPPROVED")
		}
		r := w.operate("POST", "/ath/admin/hosts/suspend", `{"host":"127.0.0.1"}`) // and again finds them
		if r.status != 200 || number(r, "suspended_agents") != 2 || number(r, "already_suspended_agents") != 1 {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	r = w.operate("GET", "/ath/admin/hosts", "")
	if hosts := r.list("hosts"); r.status != 200 || len(hosts) != 1 || fmt.Sprint(hosts[0].(map[string]any)["host"]) != "127.0.0.1" || hosts[0].(map[string]any)["by"] != "ops" {
		t.Errorf("%d %s", r.status, r.raw)
	}
	w.pass(400 * 24 * time.Hour) // waiting ends nothing
	w.refusedAs(t, w.post("/ath/agents/register", w.actor("late").registration("gallery", "pictures:read")), 403, "AGENT_UNAPPROVED")

	since = len(w.log())
	r = w.operate("POST", "/ath/admin/hosts/resume", `{"host":"127.0.0.1"}`)
	if r.status != 200 || number(r, "suspended_agents") != 3 {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if e := w.eventsOf(since, "host_resumed"); len(e) != 1 || e[0]["host"] != "127.0.0.1" || e[0]["by"] != "ops" {
		t.Errorf("U-1: %v", e)
	}
	w.refusedAs(t, w.operate("POST", "/ath/admin/hosts/resume", `{"host":"127.0.0.1"}`), 404, "NOT_FOUND")
	if r := w.actor("new").register("gallery", "pictures:read"); r.status != 201 {
		t.Errorf("%d %s", r.status, r.raw)
	}
	w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")), 403, "AGENT_UNAPPROVED")
	w.action(t, a, "resume", "")
	if got := w.decide(t, a, tokenA); got == authz.Allowed {
		t.Error("R-6: an old token lives again")
	}
}

// Below a name, and in spellings of before R-3.
// S-4
func TestHostsBelowANameAreSuspended(t *testing.T) {
	w := newWorld(t)
	ids := map[string]bool{ // whether *.paypai.com is meant
		"https://agents.paypai.com/a": true, "https://deep.agents.paypai.com/?2": true, "https://Agents.PayPai.com.:0443/b": true, "https://agents.paypai.com:8443/": true,
		"https://paypai.com/a": false, "https://notpaypai.com/a": false, "https://agents.paypai.com.evil.example/": false, "https://evil.example/agents.paypai.com": false,
	}
	for id := range ids {
		agent := tokenstore.Agent{ID: id, ClientID: ath.NewClientIDOf(ath.AgentTag(id)).String(), ApprovalExpires: w.now().Add(time.Hour),
			Approvals: []tokenstore.Approval{{Provider: "gallery", Approved: ath.Scopes{"pictures:read"}}}}
		if err := w.store.CreateAgent(t.Context(), agent); err != nil {
			t.Fatal(err)
		}
	}
	r := w.operate("POST", "/ath/admin/hosts/suspend", `{"host":"*.PayPai.com"}`)
	if r.status != 200 || r.text("host") != "*.paypai.com" || number(r, "suspended_agents") != 4 {
		t.Errorf("%d %s", r.status, r.raw)
	}
	for id, want := range ids {
		held, err := w.store.Agent(t.Context(), ath.AgentTag(id))
		if err != nil || held.Value.Suspended != want {
			t.Errorf("%s is suspended: %v, %v", id, held.Value.Suspended, err)
		}
	}
	for _, bad := range []string{`{}`, `{"host":""}`, `{"host":"*"}`, `{"host":"a.example:443"}`, `{"host":"https://a.example"}`, `{"hots":"a.example"}`, `{"host":"m\u00fcnchen.example"}`} {
		w.refusedAs(t, w.operate("POST", "/ath/admin/hosts/suspend", bad), 400, "INVALID_REQUEST")
	}
	w.refusedAs(t, w.ask("POST", "/ath/admin/hosts/suspend", `{"host":"a.example"}`), 401, "UNAUTHORIZED")
	w.refusedAs(t, w.ask("GET", "/ath/admin/hosts", ""), 401, "UNAUTHORIZED")
	w.refusedAs(t, w.ask("POST", "/ath/admin/hosts/resume", `{"host":"*.paypai.com"}`), 401, "UNAUTHORIZED")
}
