package walk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// Four agents with a token each, one that waits for an operator, and one that
// is not there yet: whoever a log that cannot be written matters to.
type cast struct {
	s                                      *stage.Stage
	revoked, suspended, denied, removed    *client.Client
	tokens                                 map[*client.Client]string
	pending, newcomer                      *client.Client
	revokedByOps                           *client.Client
	approve, resume, suspend, deny, remove func(*client.Client) reply
}

const reviewsLate = `  default: approve
  rules:
  - {agents: ["**/late.json"], action: review}`

func newCast(t *testing.T, s *stage.Stage) *cast {
	t.Helper()
	c := &cast{s: s, tokens: map[*client.Client]string{}}
	live := func(name string) *client.Client {
		a := s.NewAgent(name)
		c.tokens[a] = s.Token(a, stage.Provider, "pictures:read").Access.Reveal()
		return a
	}
	c.revoked, c.revokedByOps, c.suspended, c.denied, c.removed = live("revoked"), live("by-ops"), live("suspended"), live("denied"), live("removed")
	c.pending, c.newcomer = s.NewAgent("late"), s.NewAgent("newcomer")
	if r, err := s.Register(c.pending, stage.Provider, "pictures:read"); err != nil || r.Status != "pending" {
		t.Fatalf("%+v, %v", r, err)
	}
	action := func(method, what, body string) func(*client.Client) reply {
		return func(a *client.Client) reply {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), method, s.Public+"/ath/admin/agents/"+a.Credentials().ClientID+what, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-ATH-User-Token", stage.AdminKey)
			return do(t, req)
		}
	}
	c.approve, c.resume, c.suspend = action("POST", "/approve", ""), action("POST", "/resume", ""), action("POST", "/suspend", "")
	c.deny = action("POST", "/deny", `{"providers":[{"provider_id":"gallery","scopes":["pictures:read"]}]}`)
	c.remove = action("DELETE", "", "")
	return c
}

func (c *cast) call(t *testing.T, a *client.Client) reply {
	t.Helper()
	return raw(t, c.s, request(c.s, "GET", "/ath/proxy/gallery/pictures/7", c.tokens[a], a.Agent().ID(), "Connection: close")...)
}

// rightsGoAndDoNotCome does every action while nothing can be put on record.
func (c *cast) rightsGoAndDoNotCome(t *testing.T) {
	t.Helper()
	quickly := func(what string, want int, f func() reply) {
		t.Helper()
		start := time.Now()
		if r := f(); r.status != want || time.Since(start) > prompt {
			t.Errorf("%s: %d after %v, want %d within %v: %s", what, r.status, time.Since(start), want, prompt, r.body)
		}
	}
	quickly("approve", 503, func() reply { return c.approve(c.pending) }) // the first that could notice
	for a := range c.tokens {
		quickly("a call of "+a.Agent().ID(), 200, func() reply { return c.call(t, a) })
	}
	quickly("revoke", 200, func() reply {
		return post(t, c.s, "/ath/revoke", fmt.Sprintf(`{"client_id":%q,"client_secret":%q,"token":%q}`, c.revoked.Credentials().ClientID, c.revoked.Credentials().Secret.Reveal(), c.tokens[c.revoked]))
	})
	quickly("an operator's revoke", 200, func() reply { return operatorRevoke(t, c.s, stage.AdminKey, c.tokens[c.revokedByOps]) })
	quickly("suspend", 200, func() reply { return c.suspend(c.suspended) })
	quickly("deny", 200, func() reply { return c.deny(c.denied) })
	quickly("remove", 200, func() reply { return c.remove(c.removed) })
	for a := range c.tokens {
		if r := c.call(t, a); r.status != http.StatusUnauthorized && r.status != http.StatusForbidden {
			t.Errorf("a call of %s afterwards: %d %s", a.Agent().ID(), r.status, r.body)
		}
	}
	quickly("resume", 503, func() reply { return c.resume(c.suspended) })
	if r, err := c.s.Register(c.newcomer, stage.Provider, "pictures:read"); err == nil {
		t.Errorf("register: %+v", r)
	}
	status, text := c.s.Athd.Get("/readyz")
	var ready struct {
		Checks   map[string]struct{ OK bool }
		Warnings []string
	}
	if err := json.Unmarshal([]byte(text), &ready); err != nil || status != http.StatusOK || ready.Checks["audit"].OK || !ready.Checks["store"].OK ||
		!strings.Contains(strings.Join(ready.Warnings, "\n"), "audit events cannot be written") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	if _, text := c.s.Athd.Get("/metrics"); !strings.Contains(text, "\nathd_audit_events_unwritten ") || strings.Contains(text, "\nathd_audit_events_unwritten 0") {
		t.Errorf("athd_audit_events_unwritten is not in %s", text)
	}
}

// rightsCanComeAgain wants all that happened on record, once there is room.
func (c *cast) rightsCanComeAgain(t *testing.T, events func() string) {
	t.Helper()
	want := map[string]int{"token_revoked": 2, "agent_suspended": 1, "agent_denied": 1, "agent_removed": 1, "agent_approved": 0, "agent_resumed": 0}
	deadline := time.Now().Add(patience)
	for kind, n := range want {
		for strings.Count(events(), `"event":"`+kind+`"`) < n {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not on record %d times:\n%s", kind, n, events())
			}
			time.Sleep(20 * time.Millisecond)
		}
		if got := strings.Count(events(), `"event":"`+kind+`"`); got != n {
			t.Errorf("%s is on record %d times, want %d", kind, got, n)
		}
	}
	if r := c.approve(c.pending); r.status != http.StatusOK {
		t.Errorf("approve: %d %s", r.status, r.body)
	}
	if r, err := c.s.Register(c.newcomer, stage.Provider, "pictures:read"); err != nil {
		t.Errorf("register: %+v %v", r, err)
	}
	for {
		_, text := c.s.Athd.Get("/metrics")
		if strings.Contains(text, "\nathd_audit_events_unwritten 0\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("athd_audit_events_unwritten is not 0: %s", text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// S-2's sibling, on a file system of athd's own that is really full.
// proves: U-1
func TestRightsAreTakenAwayOnAFullDisk(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "unshare", "-Urm", "mount", "-t", "tmpfs", "none", t.TempDir()).CombinedOutput(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("ATHD_TEST_SKIP"), ","), "netns") {
			t.Skip("ATHD_TEST_SKIP names netns")
		}
		t.Fatalf("no file system of one's own can be mounted here: allow unprivileged user namespaces, or name netns in ATHD_TEST_SKIP: %v %s", err, out)
	}
	disk := t.TempDir() // inside of athd's own view of the machine, something is mounted here
	s := stage.Start(t, stage.Options{
		Mode: "gateway", Approval: reviewsLate, Extra: "audit: {file: " + disk + "/audit.jsonl, max_size: 64KiB, keep: 1}",
		Athd: func(cmd *exec.Cmd) {
			cmd.Args = append([]string{"unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=256k none " + disk + ` && exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/usr/bin/unshare"
		},
	})
	inside := func(name string) string {
		return filepath.Join(fmt.Sprintf("/proc/%d/root", s.Athd.PID()), disk, name)
	}
	events := func() string {
		text, err := os.ReadFile(inside("audit.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	c := newCast(t, s)
	before := events()
	if !strings.Contains(before, `"agent_registered"`) || strings.Contains(s.Athd.Logs(), `"agent_registered"`) {
		t.Fatal("events are not in the file alone")
	}
	filler, err := os.Create(inside("filler"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 32 << 10; size > 0; {
		if _, err := filler.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	filler.Close()
	// What room is left in the file's last page takes a few events yet.
	for i := 0; !strings.Contains(s.Athd.Logs(), "audit log unavailable"); i++ {
		if i == 100 {
			t.Fatal("the disk is not full")
		}
		if r := raw(t, s, request(s, "GET", "/ath/proxy/gallery/pictures/7", "ath_tk_x", "a", "Connection: close")...); r.status != http.StatusUnauthorized {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	c.rightsGoAndDoNotCome(t)
	if err := os.Remove(inside("filler")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	c.rightsCanComeAgain(t, events)
	for line := range strings.Lines(events()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line is spoiled: %q", line)
		}
	}
}

// By default events go to standard error, which can be a pipe that nobody
// reads any more. Neither they nor the log may hold anything up.
// proves: U-1
func TestALogThatNobodyReadsStopsNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	logs := &reader{from: r}
	t.Cleanup(func() {
		if t.Failed() {
			text := logs.String()
			t.Logf("athd's log ends with\n%s", text[max(0, len(text)-20_000):])
		}
		r.Close()
	})
	go logs.run()
	s := stage.Start(t, stage.Options{Mode: "gateway", Approval: reviewsLate, Athd: func(cmd *exec.Cmd) { cmd.Stderr = w }})
	w.Close()
	c := newCast(t, s)
	logs.pause(true)
	// 64 KiB fit into a pipe, and a piece more was read.
	for i := 0; ; i++ {
		if i == 2000 {
			t.Fatal("the pipe is not full")
		}
		start := time.Now()
		r := raw(t, s, request(s, "GET", "/ath/proxy/gallery/pictures/7", "ath_tk_x", "a", "Connection: close")...)
		if r.status != http.StatusUnauthorized || time.Since(start) > prompt {
			t.Fatalf("a refusal: %d after %v, %s", r.status, time.Since(start), r.body)
		}
		if _, text := s.Athd.Get("/metrics"); i%20 == 0 && !strings.Contains(text, "\nathd_audit_events_unwritten 0\n") {
			break
		}
	}
	c.rightsGoAndDoNotCome(t)
	logs.pause(false)
	c.rightsCanComeAgain(t, logs.String)
}

// A reader reads until it is told to pause; a piece may come after that.
type reader struct {
	from io.Reader

	mu   sync.Mutex
	goOn chan struct{} // nil: not paused
	text strings.Builder
}

func (r *reader) pause(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.goOn = make(chan struct{})
		return
	}
	close(r.goOn)
	r.goOn = nil
}

func (r *reader) run() {
	buffer := make([]byte, 4096)
	for {
		n, err := r.from.Read(buffer)
		r.mu.Lock()
		r.text.Write(buffer[:n])
		wait := r.goOn
		r.mu.Unlock()
		if wait != nil {
			<-wait
		}
		if err != nil {
			return
		}
	}
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
