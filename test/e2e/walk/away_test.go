package walk

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

// With the store away nothing is allowed and nothing is called invalid; when
// it is back, so is everything, without a restart.
func TestStoreAwayAndBack(t *testing.T) {
	s := stage.Start(t, stage.Options{StoreTimeout: "250ms"})
	c := s.NewAgent("patient")
	token := s.Token(c, stage.App, "products:read")
	call := func() reply {
		return raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), c.Agent().ID())...)
	}
	if r := call(); r.status != 200 {
		t.Fatalf("before: %d %s", r.status, r.body)
	}
	for _, how := range []struct {
		name     string
		away, in func()
	}{
		{"killed", s.Redis.Kill, s.Redis.Start},
		{"paused", s.Redis.Pause, s.Redis.Resume},
	} {
		t.Run(how.name, func(t *testing.T) {
			how.away()
			s.App.Forget()
			for range 8 { // past the breaker's threshold too
				start := time.Now()
				r := call()
				if r.status != 503 || r.code() != "INTERNAL_ERROR" || r.header.Get("Retry-After") == "" {
					t.Errorf("a call: %d %s, Retry-After %q", r.status, r.code(), r.header.Get("Retry-After"))
				}
				if took := time.Since(start); took > prompt {
					t.Errorf("a call took %v", took)
				}
			}
			attestation, err := c.Agent().Attest(s.Public, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			r := post(t, s, "/ath/authorize", `{"client_id":"`+c.Credentials().ClientID+`","agent_attestation":"`+attestation.Reveal()+`","provider_id":"shop","scopes":["products:read"],"state":"x"}`)
			if r.status != 503 || r.header.Get("Retry-After") == "" {
				t.Errorf("authorize: %d %s", r.status, r.body)
			}
			status, _ := s.Athd.Get("/readyz")
			for start := time.Now(); status != 503 && time.Since(start) < patience; status, _ = s.Athd.Get("/readyz") {
				time.Sleep(20 * time.Millisecond) // waits for another process
			}
			if status != 503 {
				t.Errorf("/readyz says %d", status)
			}
			if status, _ := s.Athd.Get("/health"); status != 200 {
				t.Errorf("/health says %d: athd itself is well", status)
			}
			if s.App.Bytes() != "" {
				t.Error("the API saw a request that could not be judged")
			}
			how.in()
			deadline := time.Now().Add(patience)
			for r := call(); r.status == 503; r = call() {
				if time.Now().After(deadline) {
					t.Fatal("it does not heal")
				}
				time.Sleep(20 * time.Millisecond) // waits for another process
			}
			next := s.NewAgent("after-" + how.name)
			token := s.Token(next, stage.App, "products:read")
			if r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), next.Agent().ID())...); r.status != 200 {
				t.Errorf("after: %d %s", r.status, r.body)
			}
		})
	}
}

// With athd away Envoy refuses by itself, in JSON, and nothing gets through.
func TestSidecarAway(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	c := s.NewAgent("lonely")
	token := s.Token(c, stage.App, "products:read")
	s.Athd.Kill()
	s.App.Forget()
	for name, lines := range map[string][]string{
		"a call": request(s, "GET", "/api/products", token.Access.Reveal(), c.Agent().ID()), "no token": {"GET /api/products HTTP/1.1", "Host: " + s.Host()},
		"gateway": request(s, "GET", "/ath/proxy/gallery/pictures/1", token.Access.Reveal(), c.Agent().ID()),
	} {
		r := raw(t, s, lines...)
		if r.status != 503 || r.header.Get("Retry-After") == "" || !strings.Contains(r.header.Get("Content-Type"), "json") {
			t.Errorf("%s: %d %q %s", name, r.status, r.header, r.body)
		}
	}
	if s.App.Bytes() != "" {
		t.Error("the API saw a request that nobody judged")
	}
}

// A sidecar that is asked to end finishes what it has begun, and exits with 0.
func TestGracefulShutdown(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	if err := s.Athd.Stop(); err != nil {
		t.Errorf("athd ended with %v", err)
	}
}

// proves: E-1
func TestCompanionThroughEnvoy(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/.well-known/ath.json", 200, ""},
		{"GET", "/.well-known/ath-app.json", 200, ""},
		{"HEAD", "/.well-known/ath.json", 200, ""},
		{"POST", "/.well-known/ath.json", 405, "METHOD_NOT_ALLOWED"},
		{"GET", "/ath/token", 405, "METHOD_NOT_ALLOWED"},
		{"GET", "/ath/agents/unknown", 404, "NOT_FOUND"},
		{"GET", "/ath/nothing", 404, "NOT_FOUND"},
		{"GET", "/ath", 404, "NOT_FOUND"},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), c.method, s.Public+c.path, nil)
		r := do(t, req)
		if r.status != c.status || c.code != "" && r.code() != c.code {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, r.status, r.body, c.status, c.code)
		}
		if c.status == 405 && r.header.Get("Allow") == "" {
			t.Errorf("E-1: %s %s: no Allow", c.method, c.path)
		}
		if r.header.Get("Server") != "" && strings.Contains(r.header.Get("Server"), "athd") {
			t.Errorf("the server names itself")
		}
	}
	if r := post(t, s, "/ath/token", strings.Repeat("x", 70<<10)); r.status != 413 || r.code() != "PAYLOAD_TOO_LARGE" {
		t.Errorf("E-1: a body of 70 KiB: %d %s", r.status, r.code())
	}
	if r := post(t, s, "/ath/token", `{"client_id": 7}`); r.status != 400 || r.code() != "INVALID_REQUEST" || r.details()["field"] != "client_id" {
		t.Errorf("E-1: a number for client_id: %d %s", r.status, r.body)
	}
}
