package handshake

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/ratelimit"
)

func limits(l httpapi.Limits) option { return func(c *settings) { c.Limits = l } }

// from asks as Envoy would for a client with this address.
func (w *world) from(address, method, path, accept string) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, w.public+path, strings.NewReader("{}"))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", address)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	return w.send(req)
}

// tooMany checks a refusal that says when to come back.
func (w *world) tooMany(t *testing.T, r reply) (seconds int) {
	t.Helper()
	w.refusedAs(t, r, http.StatusTooManyRequests, "RATE_LIMITED")
	seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
	if err != nil || seconds < 1 || r.details()["retry_after_seconds"] != float64(seconds) {
		t.Errorf("Retry-After %q, details %v", r.header.Get("Retry-After"), r.details())
	}
	return seconds
}

// proves: E-1, E-2
func TestOneAddressCannotAskForTooMuch(t *testing.T) {
	w := newWorld(t, limits(httpapi.Limits{PerAddress: ratelimit.Rate{N: 6, Per: time.Minute}, Registrations: ratelimit.Rate{N: 2, Per: time.Minute}}))
	const one, other = "198.51.100.1", "198.51.100.2"
	t.Run("registrations are fewer than requests", func(t *testing.T) {
		for range 2 {
			if r := w.from(one, "POST", "/ath/agents/register", ""); r.status != http.StatusBadRequest {
				t.Fatalf("%d %s", r.status, r.raw)
			}
		}
		if s := w.tooMany(t, w.from(one, "POST", "/ath/agents/register", "")); s != 30 {
			t.Errorf("Retry-After %d, want 30", s)
		}
	})
	for range 3 {
		if r := w.from(one, "POST", "/ath/token", ""); r.status != http.StatusBadRequest {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	}
	t.Run("an API call is refused as JSON", func(t *testing.T) {
		for _, path := range []string{"/ath/token", "/ath/authorize", "/ath/revoke", "/ath/agents/register"} {
			w.tooMany(t, w.from(one, "POST", path, ""))
		}
	})
	t.Run("a browser is refused by a page", func(t *testing.T) {
		for path, method := range map[string]string{"/ath/callback": "GET", "/ath/consent/start": "GET", "/ath/consent/decide": "POST"} {
			r := w.from(one, method, path, "text/html")
			if r.status != http.StatusTooManyRequests || !strings.Contains(r.raw, "RATE_LIMITED") || r.header.Get("Retry-After") == "" ||
				!strings.HasPrefix(r.header.Get("Content-Type"), "text/html") || r.header.Get("Content-Security-Policy") == "" {
				t.Errorf("%s: %d %v %s", path, r.status, r.header, r.raw)
			}
		}
	})
	t.Run("what the client says of its address is not believed", func(t *testing.T) {
		w.tooMany(t, w.from("203.0.113.9, "+one, "POST", "/ath/token", ""))
	})
	t.Run("others and those who ask for our health feel nothing", func(t *testing.T) {
		if r := w.from(other, "POST", "/ath/token", ""); r.status != http.StatusBadRequest {
			t.Errorf("%d %s", r.status, r.raw)
		}
		for range 10 {
			if r := w.from(one, "GET", "/health", ""); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.raw)
			}
		}
	})
	t.Run("what health does not answer is a request like others", func(t *testing.T) {
		w.tooMany(t, w.from(one, "POST", "/health", ""))
	})
	t.Run("it may come back when it was told to", func(t *testing.T) {
		seconds := w.tooMany(t, w.from(one, "POST", "/ath/token", ""))
		w.pass(time.Duration(seconds) * time.Second)
		if r := w.from(one, "POST", "/ath/token", ""); r.status != http.StatusBadRequest {
			t.Errorf("after %d s: %d %s", seconds, r.status, r.raw)
		}
	})
}

func TestAPeerThatIsNotEnvoyCountsItself(t *testing.T) {
	w := newWorld(t)
	w.config.Limits.PerAddress = ratelimit.Rate{N: 1, Per: time.Minute}
	companion, _, err := build(w.config)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{http.StatusBadRequest, http.StatusTooManyRequests} {
		req := httptest.NewRequest("POST", "/ath/token", strings.NewReader("{}"))
		req.RemoteAddr = "203.0.113.5:1234"
		req.Header.Set("X-Forwarded-For", "198.51.100."+strconv.Itoa(i))
		rec := httptest.NewRecorder()
		companion.ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("request %d: %d, want %d", i, rec.Code, want)
		}
	}
}

func TestOneAgentCannotAskForTooMuch(t *testing.T) {
	w := newWorld(t, limits(httpapi.Limits{PerAgent: ratelimit.Rate{N: 3, Per: time.Minute}}))
	a, b := w.actor("a"), w.actor("b")
	a.register("gallery", "pictures:read")
	b.register("gallery", "pictures:read")
	t.Run("whoever cannot prove to be the agent takes nothing from it", func(t *testing.T) {
		for range 5 {
			w.refusedAs(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read").with("agent_attestation", "x.y.z")), 401, "INVALID_ATTESTATION")
			w.refusedAs(t, w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": "x", "token": "x"}), 401, "AGENT_NOT_REGISTERED")
		}
	})
	a.authorize("gallery", []string{"pictures:read"})
	if r := w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": "x"}); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	t.Run("each of its calls counts", func(t *testing.T) {
		w.tooMany(t, w.post("/ath/authorize", a.authorization("gallery", "pictures:read")))
		w.tooMany(t, w.post("/ath/token", a.exchange("ath_sess_x", "x")))
		w.tooMany(t, w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": "x"}))
		w.tooMany(t, w.post("/ath/agents/register", a.registration("gallery", "pictures:write")))
	})
	t.Run("another agent feels nothing", func(t *testing.T) {
		b.authorize("gallery", []string{"pictures:read"})
	})
}

// held lets n registrations wait for their identity documents, and returns
// when they are under way.
func (w *world) held(n int, address func(int) string) (let func()) {
	w.t.Helper()
	gate, asked := make(chan struct{}), make(chan struct{}, n)
	w.site.HandleFunc("/held/", func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-gate
	})
	a := w.actor("held")
	var done sync.WaitGroup
	for i := range n {
		body := a.registration("gallery", "pictures:read")
		body["agent_id"] = w.sites + "/held/" + strconv.Itoa(i)
		body["agent_attestation"] = a.attest(w.public, func(c jwt.MapClaims) { c["iss"] = body["agent_id"] })
		text, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		done.Go(func() {
			req, err := http.NewRequest("POST", w.public+"/ath/agents/register", bytes.NewReader(text))
			if err != nil {
				w.t.Error(err)
				return
			}
			req.Header.Set("X-Forwarded-For", address(i))
			w.send(req)
		})
	}
	for range n {
		<-asked
	}
	var once sync.Once
	let = func() { once.Do(func() { close(gate); done.Wait() }) }
	w.t.Cleanup(let)
	return let
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	t.Run("of one address", func(t *testing.T) {
		w := newWorld(t, limits(httpapi.Limits{ConcurrentPerAddress: 3}))
		const one, other = "198.51.100.1", "2001:db8::1"
		let := w.held(3, func(int) string { return one })
		w.tooMany(t, w.from(one, "POST", "/ath/token", ""))
		if r := w.from(other, "POST", "/ath/token", ""); r.status != http.StatusBadRequest {
			t.Errorf("another address: %d %s", r.status, r.raw)
		}
		let()
		if r := w.from(one, "POST", "/ath/token", ""); r.status != http.StatusBadRequest {
			t.Errorf("after they ended: %d %s", r.status, r.raw)
		}
	})
	t.Run("of one step", func(t *testing.T) {
		w := newWorld(t, limits(httpapi.Limits{Concurrent: 6}))
		let := w.held(3, func(i int) string { return "198.51.100." + strconv.Itoa(i) })
		r := w.from("203.0.113.1", "POST", "/ath/agents/register", "")
		w.refusedAs(t, r, http.StatusServiceUnavailable, "INTERNAL_ERROR")
		if r.header.Get("Retry-After") == "" {
			t.Errorf("%v", r.header)
		}
		if r := w.from("203.0.113.1", "POST", "/ath/token", ""); r.status != http.StatusBadRequest {
			t.Errorf("another step: %d %s", r.status, r.raw)
		}
		let()
		if r := w.from("203.0.113.1", "POST", "/ath/agents/register", ""); r.status != http.StatusBadRequest {
			t.Errorf("after they ended: %d %s", r.status, r.raw)
		}
	})
}
