package handshake

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/ratelimit"
)

// A guess is one bogus request and the only status that it may have.
type guess struct {
	method, path, body string
	status             int
}

// guesses returns the i-th guess of an attacker who knows one client_id.
func (w *world) guesses(known, nowhere, attestation string) func(i int) guess {
	text := func(b body) string {
		s, err := json.Marshal(b)
		if err != nil {
			panic(err)
		}
		return string(s)
	}
	registration := func(id, attestation string) string {
		return text(body{"agent_id": id, "agent_attestation": attestation, "developer": body{"name": "x", "id": "x"},
			"requested_providers": []body{{"provider_id": "gallery", "scopes": []string{"pictures:read"}}}})
	}
	token := func(client, session string) string {
		return text(body{"grant_type": "authorization_code", "client_id": client, "client_secret": "ath_secret_guess",
			"agent_attestation": attestation, "code": "ath_code_guess", "ath_session_id": session})
	}
	return func(i int) guess {
		switch {
		case i%60 == 0: // looks right, so that a document is looked for
			return guess{"POST", "/ath/agents/register", registration(fmt.Sprintf("%s/bogus/%d", nowhere, i), attestation), 401}
		case i%6 == 0:
			return guess{"POST", "/ath/agents/register", registration(fmt.Sprintf("https://%d.example/agent", i), attestation+"x"), 401}
		case i%6 == 1:
			return guess{"GET", "/ath/callback?code=x&state=" + ath.NewState(ath.NewTag()).Secret().Reveal(), "", 400}
		case i%6 == 2:
			return guess{"GET", "/ath/consent/start?state=" + ath.NewState(ath.NewTag()).Secret().Reveal(), "", 400}
		case i%6 == 3:
			return guess{"POST", "/ath/consent/decide", "decision=allow&state=" + ath.NewState(ath.NewTag()).Secret().Reveal(), 400}
		case i%6 == 4:
			return guess{"POST", "/ath/token", token(known, ath.NewSessionID().Secret().Reveal()), 401}
		}
		return guess{"POST", "/ath/token", token(fmt.Sprint("ath_", ath.NewTag(), "_", i), ath.NewSessionID().Secret().Reveal()), 403}
	}
}

// stopped is how long an honest agent waits who is stopped, and not only beside much
// else on a busy machine. How soon it is served is held by make bench-flood.
const stopped = time.Minute

// memory returns what is reachable on the heap and what the process occupies,
// in MiB.
func memory() (heap, rss float64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmRSS: %f kB", &rss)
	}
	return float64(m.HeapAlloc) / (1 << 20), rss / (1 << 10)
}

// TestMemoryStaysFlatUnderBogusRequests lets an attacker with many addresses
// guess: 50,000 times, or a million times with ATHD_MILLION=1. A machine that is
// too busy for that guesses for some minutes, and what memory may grow by is less.
func TestMemoryStaysFlatUnderBogusRequests(t *testing.T) {
	total, most := 50_000, time.Minute
	if os.Getenv("ATHD_MILLION") != "" {
		total, most = 1_000_000, time.Hour
	}
	quiet := slog.New(slog.DiscardHandler)
	w := newWorld(t, func(c *settings) {
		c.Logger, c.Audit = quiet, audit.New(audit.Config{Writer: io.Discard})
		c.Limits.Registrations = ratelimit.Rate{N: 1200, Per: time.Minute} // else most would be refused sooner
	})
	known := w.actor("known")
	known.register("gallery", "pictures:read")
	nowhere := strings.Replace(w.sites, "127.0.0.1", "localhost", 1)
	asked := atomic.Int64{}
	w.site.HandleFunc("/bogus/", func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.NotFound(rw, r)
	})
	next := w.guesses(known.clientID, nowhere, known.attest(w.public, func(c jwt.MapClaims) { c["iss"] = nowhere }))
	addresses := total / 15 // of the attacker

	client := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(client.CloseIdleConnections)
	var sent, answered, limited atomic.Int64
	guessing := func(until int64, most time.Duration) {
		end := time.Now().Add(most)
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for i := sent.Add(1); i <= until && time.Now().Before(end); i = sent.Add(1) {
					g := next(int(i))
					req, err := http.NewRequest(g.method, w.public+g.path, strings.NewReader(g.body))
					if err != nil {
						t.Error(err)
						return
					}
					if strings.HasPrefix(g.body, "decision") {
						req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					}
					n := int(i) % addresses
					req.Header.Set("X-Forwarded-For", fmt.Sprintf("100.%d.%d.%d", n>>16, n>>8&255, n&255))
					resp, err := client.RoundTrip(req)
					if err != nil {
						t.Error(err)
						return
					}
					text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
					resp.Body.Close()
					answered.Add(1)
					switch resp.StatusCode {
					case g.status:
					case http.StatusTooManyRequests:
						limited.Add(1)
					default:
						t.Errorf("%s %s: %d, want %d: %s", g.method, g.path, resp.StatusCode, g.status, text)
						return
					}
				}
			})
		}
		workers.Wait()
		sent.Store(until)
	}

	guessing(int64(total)/4, most) // every address has been seen, every pool is warm
	heap, rss := memory()
	start, before := time.Now(), answered.Load()
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		guessing(int64(total), 2*most)
	}()
	t.Cleanup(func() {
		sent.Store(int64(total))
		<-flood
	})
	honest, slowest := 0, time.Duration(0)
	for under := true; under; {
		began := time.Now()
		a := w.actor(fmt.Sprint("honest", honest))
		if r := a.register("gallery", "pictures:read"); r.status != http.StatusCreated {
			t.Fatalf("an honest agent: %d %s", r.status, r.raw)
		}
		if r := a.token("gallery", "pictures:read"); r.status != http.StatusOK {
			t.Fatalf("an honest agent: %d %s", r.status, r.raw)
		}
		honest, slowest = honest+1, max(slowest, time.Since(began))
		select {
		case <-flood:
			under = false
		case <-time.After(time.Second):
		}
	}
	took, flooded := time.Since(start), answered.Load()-before
	heapAfter, rssAfter := memory()
	t.Logf("%d bogus requests (%d refused by a limit), the last %d in %.1f s: heap %.1f -> %.1f MiB, RSS %.0f -> %.0f MiB; %d documents were looked for; %d honest agents got a token meanwhile, the slowest in %v",
		answered.Load(), limited.Load(), flooded, took.Seconds(), heap, heapAfter, rss, rssAfter, asked.Load(), honest, slowest.Round(time.Millisecond))
	if grown, may := heapAfter-heap, max(3, 12*float64(flooded)/(0.75*50_000)); grown > min(12, may) {
		t.Errorf("the heap grew by %.1f MiB in %d requests", grown, flooded)
	}
	if slowest > stopped {
		t.Errorf("an honest agent waited for %v", slowest)
	}
	if limited.Load() > answered.Load()/10 || asked.Load() == 0 || flooded < 2000 {
		t.Errorf("of %d requests %d were refused by a limit and %d documents looked for: that proves nothing", flooded, limited.Load(), asked.Load())
	}
}

// proves
func TestAThousandSlowIdentityHostsDoNotStopAnHonestAgent(t *testing.T) {
	w := newWorld(t)
	hosts, done := slowHosts(t, 250)
	liar := w.actor("liar")
	var crowd sync.WaitGroup
	var busy atomic.Int64
	for i := range 1000 {
		host := hosts[i%len(hosts)]
		b := liar.registration("gallery", "pictures:read").with("agent_id", fmt.Sprint(host, "/", i),
			"agent_attestation", liar.attest(w.public, func(c jwt.MapClaims) { c["iss"] = host }))
		crowd.Go(func() {
			r := w.post("/ath/agents/register", b, "X-Forwarded-For", fmt.Sprintf("100.64.%d.%d", i>>8, i&255))
			switch r.status {
			case http.StatusServiceUnavailable:
				busy.Add(1)
			case http.StatusUnauthorized:
			default:
				t.Errorf("a slow host's agent: %d %s", r.status, r.raw)
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // the crowd is there
	honest, start, tries := w.actor("honest"), time.Now(), 1
	for honest.register("gallery", "pictures:read").status != http.StatusCreated {
		if time.Since(start) > stopped {
			t.Fatalf("the honest agent was stopped: %d tries in %v", tries, time.Since(start))
		}
		time.Sleep(time.Second) // Retry-After
		tries++
	}
	t.Logf("an honest registration among 1000 of slow hosts: %d tries, %v; %d of the crowd got 503", tries, time.Since(start).Round(time.Millisecond), busy.Load())
	start = time.Now()
	if r := honest.token("gallery", "pictures:read"); r.status != http.StatusOK {
		t.Errorf("the honest agent's token: %d %s", r.status, r.raw)
	}
	if took := time.Since(start); took > stopped {
		t.Errorf("its token took %v", took)
	}
	done()
	crowd.Wait()
}

// slowHosts listens on n loopback addresses and never answers.
func slowHosts(t *testing.T, n int) (origins []string, done func()) {
	t.Helper()
	end := make(chan struct{})
	done = sync.OnceFunc(func() { close(end) })
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})}
	t.Cleanup(func() { done(); srv.Close() })
	for i := range n {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.1.%d:0", i+1))
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(l)
		origins = append(origins, "http://"+l.Addr().String())
	}
	return origins, done
}
