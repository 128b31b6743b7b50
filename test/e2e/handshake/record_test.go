package handshake

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A disk for audit events can be full, and it can hang.
type disk struct {
	mu    sync.Mutex
	text  strings.Builder
	state string        // "" (all is well), full or hanging
	freed chan struct{} // closed when the state ends
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.state == "hanging" {
		freed := d.freed
		d.mu.Unlock()
		<-freed
		d.mu.Lock()
	}
	if d.state == "full" {
		return 0, errors.New("no space left on the device")
	}
	return d.text.Write(p)
}

// becomes changes the state.
func (d *disk) becomes(state string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.freed != nil {
		close(d.freed)
		d.freed = nil
	}
	if d.state = state; state != "" {
		d.freed = make(chan struct{})
	}
}

func (d *disk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// U-1's last sentence, for every action. What an operator or agent does about
// several agents is done to one each.
// proves: U-1
func TestALogThatCannotBeWrittenStopsWhatGivesRightsAlone(t *testing.T) {
	const reading = `{"providers":[{"provider_id":"gallery","scopes":["pictures:read"]}]}`
	for _, state := range []string{"full", "hanging"} {
		t.Run(state, func(t *testing.T) {
			d := new(disk)
			w := newWorld(t, func(c *settings) {
				c.Audit = audit.New(audit.Config{Writer: d, JSON: true, Logger: c.Logger})
			})
			t.Cleanup(func() { d.becomes("") })
			revoked, token := w.live(t, "revoked")
			own, ownToken := w.live(t, "own")
			suspended, suspendedToken := w.live(t, "suspended")
			denied, deniedToken := w.live(t, "denied")
			removed, removedToken := w.live(t, "removed")
			leaving, leavingToken := w.live(t, "leaving")
			cut, cutToken := w.live(t, "cut")
			resumed, _ := w.live(t, "resumed")
			w.operate("POST", resumed.adminPath()+"/suspend", "")
			narrowed, _ := w.live(t, "narrowed")
			w.operate("POST", narrowed.adminPath()+"/deny", reading)
			w.operate("POST", "/ath/admin/hosts/suspend", `{"host":"resumed.example"}`)
			link, session := own.authorize("gallery", []string{"pictures:read"})
			page := w.consent(w.newBrowser(), link)
			code := athCode.FindString(page.Body)
			refusing, _ := own.authorize("gallery", []string{"pictures:read"})
			newcomer := w.actor("newcomer")

			d.becomes(state)
			quickly := func(t *testing.T, r func() reply, status int) reply {
				t.Helper()
				start := time.Now()
				got := r()
				// A quarter of a second, and what a busy machine adds. Who waits for the disk waits for ever.
				if took := time.Since(start); took > 10*time.Second || got.status != status {
					t.Errorf("%d after %v, want %d within ten seconds: %s", got.status, took, status, got.raw)
				}
				return got
			}
			refused := func(t *testing.T, r func() reply) {
				t.Helper()
				got := quickly(t, r, http.StatusServiceUnavailable)
				if got.code() != "INTERNAL_ERROR" || got.header.Get("Retry-After") == "" {
					t.Errorf("%s, Retry-After %q", got.raw, got.header.Get("Retry-After"))
				}
			}
			t.Run("what gives rights is not done", func(t *testing.T) {
				refused(t, func() reply { return w.operate("POST", narrowed.adminPath()+"/approve", reading) })
				refused(t, func() reply { return w.operate("POST", resumed.adminPath()+"/resume", "") })
				refused(t, func() reply { return w.operate("POST", "/ath/admin/hosts/resume", `{"host":"resumed.example"}`) })
				refused(t, func() reply { return newcomer.register("gallery", "pictures:read") })
				refused(t, func() reply {
					return w.post("/ath/authorize", own.authorization("gallery", "pictures:read"))
				})
				refused(t, func() reply { return w.post("/ath/token", own.exchange(session, code)) })
				for _, c := range []struct {
					of   *actor
					want string
				}{{narrowed, "denied"}, {resumed, "suspended"}} {
					if r := w.operate("GET", c.of.adminPath(), ""); r.text("agent_status") != c.want {
						t.Errorf("%s is %s", c.want, r.raw)
					}
				}
				if r := w.operate("GET", "/ath/admin/hosts", ""); !strings.Contains(r.raw, "resumed.example") {
					t.Errorf("the host was resumed: %s", r.raw)
				}
			})
			t.Run("what takes them away is", func(t *testing.T) {
				revoke := func() reply {
					return w.post("/ath/revoke", body{"token": token}, "X-ATH-User-Token", adminToken)
				}
				quickly(t, revoke, http.StatusOK)
				quickly(t, func() reply {
					return w.post("/ath/revoke", body{"client_id": own.clientID, "client_secret": own.secret, "token": ownToken})
				}, http.StatusOK)
				quickly(t, func() reply { return w.operate("POST", suspended.adminPath()+"/suspend", "") }, http.StatusOK)
				quickly(t, func() reply { return w.operate("POST", "/ath/admin/hosts/suspend", `{"host":"other.example"}`) }, http.StatusOK)
				quickly(t, func() reply { return w.operate("POST", denied.adminPath()+"/deny", reading) }, http.StatusOK)
				connection := "/ath/admin/connections/" + connectionOf(t, cutToken)
				quickly(t, func() reply { return w.operate("POST", connection+"/end", "") }, http.StatusOK)
				quickly(t, func() reply { return w.operate("POST", "/ath/admin/users/end", `{"user_id":"somebody"}`) }, http.StatusOK)
				quickly(t, func() reply { return w.operate("DELETE", removed.adminPath(), "") }, http.StatusOK)
				quickly(t, func() reply {
					return w.ask("DELETE", leaving.path(), "", "Authorization", basic(leaving.clientID, leaving.secret))
				}, http.StatusOK)
				for _, c := range []struct {
					of    *actor
					token string
				}{{revoked, token}, {own, ownToken}, {suspended, suspendedToken}, {denied, deniedToken}, {removed, removedToken}, {leaving, leavingToken}, {cut, cutToken}} {
					if got := w.decide(t, c.of, c.token); got == authz.Allowed {
						t.Errorf("the token of %s still passes", c.of.id)
					}
				}
			})
			t.Run("and a user's no", func(t *testing.T) {
				b := w.newBrowser()
				page, err := b.Get(t.Context(), refusing)
				if err == nil {
					page, err = b.Submit(t.Context(), page.Form().Click("Deny"))
				}
				if err != nil || !strings.Contains(page.Body, "not") {
					t.Errorf("%v %v", page, err)
				}
			})
			t.Run("a refusal is answered", func(t *testing.T) {
				quickly(t, func() reply { return w.post("/ath/token", body{}) }, http.StatusBadRequest)
			})

			d.becomes("")
			t.Run("when there is room again, all is on record, and can be done", func(t *testing.T) {
				r := w.operate("POST", narrowed.adminPath()+"/approve", reading)
				for start := time.Now(); r.status == http.StatusServiceUnavailable && state == "hanging" && time.Since(start) < time.Minute; {
					runtime.Gosched() // the writer, which hung, has what waited for it to write first
					r = w.operate("POST", narrowed.adminPath()+"/approve", reading)
				}
				if r.status != http.StatusOK {
					t.Fatalf("%d %s", r.status, r.raw)
				}
				if r := newcomer.register("gallery", "pictures:read"); r.status != http.StatusCreated {
					t.Errorf("%d %s", r.status, r.raw)
				}
				if r := w.post("/ath/token", own.exchange(session, code)); r.status != http.StatusOK {
					t.Errorf("%d %s", r.status, r.raw)
				}
				all := d.String()
				for kind, n := range map[audit.Kind]int{
					audit.TokenRevoked: 2, audit.AgentSuspended: 2, audit.AgentDenied: 2, audit.AgentRemoved: 2,
					audit.ConnectionEnded: 1, audit.UserEnded: 1,
				} {
					if got := strings.Count(all, `"event":"`+string(kind)+`"`); got != n {
						t.Errorf("%d events %s, want %d", got, kind, n)
					}
				}
				if !strings.Contains(all, `"denial_reason":"access_denied"`) {
					t.Error("the user's no is not on record")
				}
				// Of two events with one decision_id the last one holds. A disk
				// that was full has no other.
				for line := range strings.Lines(all) {
					if id := decisionID.FindString(line); state == "full" && strings.Count(all, id) != 1 {
						t.Errorf("%s is on record %d times:\n%s", id, strings.Count(all, id), all)
					}
				}
				if approved := strings.Count(all, `"event":"agent_approved"`); approved != 1 && state == "full" {
					t.Errorf("%d approvals are on record", approved)
				}
			})
		})
	}
}

// proves: U-1
func TestATokenThatIsNotOnRecordIsNotGivenOut(t *testing.T) {
	d := new(disk)
	server := realredis.Start(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: server.URL(), Keyset: keys, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := newWorld(t, func(c *settings) {
		c.Audit, c.Store = audit.New(audit.Config{Writer: d, JSON: true}), store
	})
	grants := func() int {
		t.Helper()
		held, err := server.Client().Keys(t.Context(), "*:grant:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(held)
	}
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	if r := a.token("gallery", "pictures:read"); r.status != http.StatusOK || grants() != 1 {
		t.Fatalf("%d %s, and %d grants", r.status, r.raw, grants())
	}
	granted := strings.Count(d.String(), "access_granted")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	code := athCode.FindString(w.consent(w.newBrowser(), link).Body)
	d.becomes("full") // and nothing has noticed yet
	if r := w.post("/ath/token", a.exchange(session, code)); !r.is(http.StatusServiceUnavailable, "INTERNAL_ERROR") || strings.Contains(r.raw, "ath_tk_") {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if n := grants(); n != 1 {
		t.Errorf("%d grants are there, of which one is on record", n)
	}
	d.becomes("")
	if r := a.register("gallery", "pictures:write"); r.status != http.StatusCreated {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if strings.Count(d.String(), "access_granted") != granted {
		t.Error("a token is on record that nobody got")
	}
}
