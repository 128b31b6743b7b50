package handshake

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/ratelimit"
)

// slow sends the head of a request with a body that does not come, and returns
// once the server waits for that body, or has answered.
func (w *world) slow(method, path, address string, headers ...string) (answer string) {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.public, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\nContent-Type: application/json\r\nContent-Length: 60000\r\nExpect: 100-continue\r\n",
		method, path, strings.TrimPrefix(w.public, "http://"), address)
	for _, h := range headers {
		fmt.Fprintf(conn, "%s\r\n", h)
	}
	fmt.Fprint(conn, "\r\n")
	answer, err = bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprint(conn, "{")
	return strings.TrimSpace(answer)
}

// S-7
func TestSlowBodiesCloseNoDoor(t *testing.T) {
	w := newWorld(t, limits(httpapi.Limits{Concurrent: 16, ConcurrentPerAddress: 16}))
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	for i := range 128 {
		path := []string{"/ath/agents/register", "/ath/authorize", "/ath/token", "/ath/revoke"}[i%4]
		if answer := w.slow("POST", path, fmt.Sprintf("198.51.100.%d", i/16)); !strings.Contains(answer, " 100 ") {
			t.Fatalf("slow body %d: %s", i, answer)
		}
	}
	start := time.Now()
	if r := w.from("203.0.113.1", "POST", "/ath/token", ""); r.status != http.StatusBadRequest {
		t.Errorf("another address: %d %s", r.status, r.raw)
	}
	if r := w.actor("b").register("gallery", "pictures:read"); r.status != http.StatusCreated {
		t.Errorf("an honest agent: %d %s", r.status, r.raw)
	}
	if r := w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": "ath_tk_x"}); r.status != http.StatusOK {
		t.Errorf("a revocation: %d %s", r.status, r.raw)
	}
	w.action(t, a, "suspend", "")
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("all that took %v: it waited for slow bodies to end", took)
	}
	t.Run("one address has no more than its own", func(t *testing.T) {
		if answer := w.slow("POST", "/ath/token", "198.51.100.0"); !strings.Contains(answer, " 429 ") {
			t.Error(answer)
		}
	})
}

// S-7
func TestOfWhatIsRefusedNoBodyIsRead(t *testing.T) {
	w := newWorld(t)
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	admin := strings.TrimPrefix(a.adminPath(), w.public)
	for _, c := range []struct{ method, path, want string }{
		{"POST", admin + "/approve", " 401 "}, {"POST", admin + "/suspend", " 401 "}, {"DELETE", admin, " 401 "},
		{"PUT", "/ath/token", " 405 "}, {"POST", "/nowhere", " 404 "}, {"POST", "/ath/admin/nowhere", " 404 "},
	} {
		if answer := w.slow(c.method, c.path, "198.51.100.1", "X-ATH-User-Token: wrong"); !strings.Contains(answer, c.want) {
			t.Errorf("%s %s: %s", c.method, c.path, answer)
		}
	}
	if answer := w.slow("POST", admin+"/approve", "198.51.100.1", "X-ATH-User-Token: "+adminToken); !strings.Contains(answer, " 100 ") {
		t.Errorf("an operator: %s", answer)
	}
}

// S-10
func TestWrongAdminTokensAreFew(t *testing.T) {
	w := newWorld(t)
	guess := func(address, token string) reply {
		req, err := http.NewRequest("GET", w.public+"/ath/admin/agents", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", address)
		if token != "" {
			req.Header.Set("X-ATH-User-Token", token)
		}
		return w.send(req)
	}
	const one, other = "198.51.100.1", "198.51.100.2"
	for range 9 {
		w.refusedAs(t, guess(one, adminToken+"x"), 401, "UNAUTHORIZED")
	}
	w.refusedAs(t, w.post("/ath/revoke", body{"token": "x"}, "X-Forwarded-For", one, "Authorization", "Bearer x"), 401, "UNAUTHORIZED")
	w.tooMany(t, guess(one, adminToken+"x"))
	w.tooMany(t, w.post("/ath/revoke", body{"token": "x"}, "X-Forwarded-For", one, "Authorization", "Bearer x"))
	w.refusedAs(t, guess(one, ""), 401, "UNAUTHORIZED") // no guess
	w.refusedAs(t, guess(other, adminToken+"x"), 401, "UNAUTHORIZED")
	for _, address := range []string{one, other} { // attackers who share an address lock nobody out
		if r := guess(address, adminToken); r.status != http.StatusOK {
			t.Errorf("the right token from %s: %d %s", address, r.status, r.raw)
		}
	}
	w.pass(6 * time.Second)
	w.refusedAs(t, guess(one, adminToken+"x"), 401, "UNAUTHORIZED")
	w.tooMany(t, guess(one, adminToken+"x"))
}

// S-7
func TestOperatorsAreNotCountedByAddress(t *testing.T) {
	w := newWorld(t, limits(httpapi.Limits{PerAddress: ratelimit.Rate{N: 2, Per: time.Hour}}))
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	for range 5 {
		w.from("127.0.0.1", "POST", "/ath/token", "")
	}
	w.tooMany(t, w.from("127.0.0.1", "POST", "/ath/token", ""))
	w.action(t, a, "suspend", "")
	if r := w.post("/ath/revoke", body{"token": "x"}, "X-ATH-User-Token", adminToken); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.raw)
	}
}
