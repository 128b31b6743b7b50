package replies

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/stage"
)

const checked = "replies: checked"

// patience is after what time something does not happen, however busy the machine is.
const patience = 30 * time.Second

// doors are the ways to ask athd, and what is watched beside.
var doors = map[string]string{
	"by ext_authz":                     checked,
	"by ext_proc":                      checked + ", filter: ext_proc",
	"by ext_proc, with streams beside": checked + ", filter: ext_proc, streams: watched, streams_on_loss: keep",
}

// onEachDoor runs a test with replies checked: calls of agents go to a provider of a
// file, over HTTP/2 and HTTP/1, to an app and to a run-time provider, on both replicas.
func onEachDoor(t *testing.T, test func(t *testing.T, w *world, agents []agent)) {
	for name, envoy := range doors {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{envoy: envoy, rewrites: true})
			w.addTools(true)
			test(t, w, w.everybody())
		})
	}
}

func (w *world) everybody() (out []agent) {
	for _, id := range []string{"gate", "plain", "open", "tools"} {
		out = append(out, w.hold(id, time.Hour))
	}
	return out
}

// on calls a path on both replicas as each of the agents.
func (w *world) on(agents []agent, path string, look func(name string, a agent, got reply)) {
	w.t.Helper()
	for _, a := range agents {
		for i := range w.Envoy {
			name := fmt.Sprintf("%s on replica %d", a.provider, i)
			var got reply
			for end := time.Now().Add(patience); ; { // a run-time provider is known everywhere soon
				if got = w.call(i, a, path); got.status != http.StatusForbidden || time.Now().After(end) {
					break
				}
			}
			if got.header.Get("X-Kept") != "yes" {
				w.t.Errorf("%s: %d %v %s", name, got.status, got.header, got.body)
				continue
			}
			look(name, a, got)
		}
	}
}

// until waits for what comes behind a reply: events, counters.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Errorf("not within %v: %s", patience, what)
			return
		}
	}
}

// counts wants a metric of a replica to come to a number, and not to exceed it.
func (w *world) counts(athd int, name string, want float64) {
	w.t.Helper()
	var sum float64
	w.until(fmt.Sprintf("replica %d counts %v as %s", athd, want, name), func() bool { sum = w.metric(athd, name); return sum >= want })
	if sum > want {
		w.t.Errorf("replica %d counts %v as %s, want %v", athd, sum, name, want)
	}
}

func holdsToken(h http.Header) (names []string) {
	for name, values := range h {
		if strings.Contains(strings.Join(values, " "), stage.UserToken) {
			names = append(names, name)
		}
	}
	return names
}

// proves: P-9
func TestEchoedTokensReachNoAgent(t *testing.T) {
	onEachDoor(t, func(t *testing.T, w *world, agents []agent) {
		w.on(agents, "/echo", func(name string, _ agent, got reply) {
			for _, gone := range []string{"X-Echo", "X-Debug", "X-Query", "X-Basic", "X-Several", "Location"} {
				if values := got.header[gone]; len(values) > 0 {
					t.Errorf("%s: %s: %q", name, gone, values)
				}
			}
			if got.status != http.StatusUnauthorized {
				t.Errorf("%s: status %d", name, got.status)
			}
		})
		for _, a := range agents {
			w.counts(0, fmt.Sprintf("athd_credentials_echoed_total{provider=%q}", a.provider), 1)
			w.until("an event on replica 1", func() bool { // which is written behind the reply
				text := w.Athd[1].Logs()
				return strings.Contains(text, `"event":"credential_echoed"`) && strings.Contains(text, `"headers":"location x-basic x-debug x-echo x-query x-several"`)
			})
		}
		if got := w.call(0, agents[1], "/frame"); got.status != 502 || len(holdsToken(got.header)) > 0 {
			t.Errorf("%d %v", got.status, got.header)
		}
		t.Run("people keep what is theirs", func(t *testing.T) {
			req := w.request(0, agent{provider: "open"}, "/echo")
			req.Header.Set("Authorization", "Bearer a-persons-own-token")
			got, err := w.do(req)
			if err != nil || got.header.Get("X-Echo") != "Bearer a-persons-own-token" || got.header.Get("Location") == "" {
				t.Errorf("%v %v", got.header, err)
			}
		})
	})
}

// proves: P-9
func TestEchoedTokensInTrailersReachNoAgent(t *testing.T) {
	onEachDoor(t, func(t *testing.T, w *world, agents []agent) {
		for _, path := range []string{"/trailers", "/unannounced"} {
			w.on(agents, path, func(name string, a agent, got reply) {
				got, err := by(w.two, w.request(int(name[len(name)-1]-'0'), a, path))
				if err != nil {
					t.Fatal(err)
				}
				if names := append(holdsToken(got.header), holdsToken(got.trailer)...); len(names) > 0 {
					t.Errorf("%s%s: %q", name, path, names)
				}
				if got.body != "body" || len(got.trailer["Set-Cookie"]) > 0 {
					t.Errorf("%s%s: %q, %v", name, path, got.body, got.trailer)
				}
				if over2 := a.provider == "gate"; over2 && got.trailer.Get("X-Sum") != "1" {
					t.Errorf("%s%s: the other trailer is gone: %v", name, path, got.trailer)
				}
			})
		}
	})
}

// Trailers that come while the head is still being checked wait for their own check.
// proves: P-9
func TestTrailersAreCheckedHoweverSoonTheyCome(t *testing.T) {
	onEachDoor(t, func(t *testing.T, w *world, agents []agent) {
		const each = 40
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range each {
					got, err := by(w.two, w.request(0, agents[0], "/trailers"))
					if err != nil || got.trailer.Get("X-Sum") != "1" || len(holdsToken(got.trailer)) > 0 || len(got.trailer["Set-Cookie"]) > 0 {
						t.Errorf("%v, %v", got.trailer, err)
						return
					}
				}
			})
		}
		all.Wait()
	})
}

// proves: P-9
func TestAgentsGetNoCookies(t *testing.T) {
	all := map[string]string{"cleared": "", "cleared, by ext_proc": "filter: ext_proc"}
	maps.Copy(all, doors)
	for door, envoy := range all {
		t.Run(door, func(t *testing.T) {
			w := newWorld(t, setup{envoy: envoy})
			w.addTools(false)
			w.on(w.everybody(), "/cookies", func(name string, _ agent, got reply) {
				values := got.header["Set-Cookie"]
				if strings.Join(values, "") != "" || len(values) > 1 || envoy != "" && len(values) > 0 {
					t.Errorf("%s: %q", name, values)
				}
			})
			w.on(w.everybody(), "/early", func(name string, _ agent, got reply) {
				if got.status != 200 || strings.Join(got.header["Set-Cookie"], "") != "" {
					t.Errorf("%s: %d %v", name, got.status, got.header)
				}
			})
			for i := range w.Envoy {
				got := w.call(i, agent{provider: "open"}, "/cookies")
				if want := []string{"session=of-the-user", "second=too"}; !slices.Equal(got.header["Set-Cookie"], want) {
					t.Errorf("a person on replica %d: %q", i, got.header["Set-Cookie"])
				}
			}
		})
	}
}

// An API over HTTP/2 may send cookies in trailers, of which no decision says anything.
// proves: P-9
func TestAgentsGetNoCookiesInTrailers(t *testing.T) {
	for door, envoy := range map[string]string{"cleared": "", "cleared, by ext_proc": "filter: ext_proc"} {
		t.Run(door, func(t *testing.T) {
			w := newWorld(t, setup{envoy: envoy})
			w.on([]agent{w.hold("gate", time.Hour)}, "/trailers", func(name string, a agent, _ reply) {
				got, err := by(w.two, w.request(int(name[len(name)-1]-'0'), a, "/trailers"))
				if err != nil {
					t.Fatal(err)
				}
				if values := got.trailer["Set-Cookie"]; len(values) > 0 || got.trailer.Get("X-Sum") != "1" || got.body != "body" {
					t.Errorf("%s: %q, %v", name, got.body, got.trailer)
				}
			})
		})
	}
}

// What comes before a reply, as 103 does, reaches no client at all.
func TestEarlyHintsReachNoAgent(t *testing.T) {
	onEachDoor(t, func(t *testing.T, w *world, agents []agent) {
		for _, a := range agents {
			req := w.request(0, a, "/early")
			conn, err := net.Dial("tcp", w.At[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			req.Close = true
			if err := req.Write(conn); err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(conn)
			if !strings.HasPrefix(string(text), "HTTP/1.1 200") || strings.Contains(string(text), stage.UserToken) || strings.Contains(string(text), "session=") {
				t.Errorf("%s: %s", a.provider, text)
			}
		}
	})
}

func TestLinksLeadThroughEnvoy(t *testing.T) {
	onEachDoor(t, func(t *testing.T, w *world, agents []agent) {
		w.on(agents, "/links", func(name string, a agent, got reply) {
			base, here := w.tls.base()+"/v1/", "http://"+w.At[0]+"/ath/proxy/"+a.provider+"/"
			if a.provider == "plain" || a.provider == "open" { // of which nobody has said so
				base, here = w.plain.base()+"/v1/", w.plain.base()+"/v1/"
			}
			api := strings.TrimSuffix(base, "/v1/")
			links := strings.Join(got.header["Link"], " | ")
			want := `<` + here + `items?page=2>; rel="next"; title="see <` + base + `no>, too", <https://elsewhere.example/v1/items>; rel="alternate"` +
				` | </v1/items?page=3>; rel="last", <` + api + `/v2/items>; rel="other"`
			if got.header.Get("Location") != here+"items/7?a=b#c" || got.header.Get("Content-Location") != here+"items/7" || links != want {
				t.Errorf("%s: %v\n%s\n%s", name, got.header, links, want)
			}
		})
		// The link leads to the API, through Envoy.
		location := w.call(0, agents[0], "/links").header.Get("Location")
		req := w.request(0, agents[0], "")
		var err error
		if req.URL, err = req.URL.Parse(location); err != nil {
			t.Fatal(err)
		}
		if got, err := w.do(req); err != nil || got.status != 200 || got.header.Get("X-Kept") != "yes" {
			t.Errorf("%s: %d %v %v", location, got.status, got.header, err)
		}
	})
}

// An API's 429 is its own, and its Retry-After too.
func TestTheAPIsOwnLimitsReachTheAgent(t *testing.T) {
	for door, envoy := range map[string]string{"cleared": "", "checked": checked} {
		t.Run(door, func(t *testing.T) {
			w := newWorld(t, setup{envoy: envoy})
			w.on([]agent{w.hold("gate", time.Hour), w.hold("plain", time.Hour)}, "/limit", func(name string, a agent, got reply) {
				if got.status != 429 || got.header.Get("Retry-After") != "17" || got.header.Get("X-RateLimit-Remaining") != "0" || got.body != `{"error":"the API's own"}` || len(got.header["X-Ath-Decision-Id"]) > 0 {
					t.Errorf("%s: %d %v %s", name, got.status, got.header, got.body)
				}
			})
			for i := range w.Athd {
				w.counts(i, `athd_api_rate_limited_total{provider="gate"}`, map[string]float64{"cleared": 0, "checked": 1}[door])
			}
			want := `envoy_cluster_upstream_rq{envoy_response_code="429",envoy_cluster_name="provider_gate"} 1`
			w.until("Envoy counts "+want, func() bool {
				return strings.Contains(w.Envoy[0].Admin("/stats/prometheus?filter=upstream_rq_429|upstream_rq$|upstream_rq_"), want)
			})
		})
	}
}

// The head of a WebSocket's reply is checked as any other.
func TestAWebSocketsReplyIsChecked(t *testing.T) {
	onEachDoor(t, func(t *testing.T, w *world, _ []agent) {
		a := w.hold("plain", time.Hour)
		for i := range w.Envoy {
			req := w.request(i, a, "/socket")
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "websocket")
			req.Header.Set("Sec-WebSocket-Version", "13")
			req.Header.Set("Sec-WebSocket-Key", "eDp5eDp5eDp5eDp5eDp5eA==")
			conn, err := net.Dial("tcp", w.At[i])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			if err := req.Write(conn); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			resp, err := http.ReadResponse(in, req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != 101 || resp.Header.Get("X-Kept") != "yes" || resp.Header.Get("X-Echo") != "" || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("replica %d: %d %v", i, resp.StatusCode, resp.Header)
			}
			fmt.Fprintln(conn, "hello")
			if line, err := in.ReadString('\n'); line != "hello\n" {
				t.Errorf("replica %d: %q, %v", i, line, err)
			}
		}
	})
}

// Where nobody can check a reply, none goes on, whatever becomes of streams; what
// people get does not depend on it.
func TestRepliesFailClosed(t *testing.T) {
	w := newWorld(t, setup{envoy: checked + ", streams: watched, streams_on_loss: keep"})
	a := w.hold("gate", time.Hour)
	stream, err := w.Client.Do(w.request(0, a, "/stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	events := bufio.NewReader(stream.Body)
	if line, err := events.ReadString('\n'); err != nil || line != "data: 0\n" {
		t.Fatalf("%q %v", line, err)
	}
	w.Athd[0].Kill()
	for range 5 {
		if got := w.call(0, a, "/echo"); got.status != 503 || len(holdsToken(got.header)) > 0 {
			t.Errorf("%d %v", got.status, got.header)
		}
	}
	// Its head was checked, so that it goes on, as the operator wants it to.
	for range 40 {
		if _, err := events.ReadString('\n'); err != nil {
			t.Fatalf("the stream ended with athd: %v", err)
		}
	}
	w.Start(0)
	for end := time.Now().Add(patience); ; {
		got := w.call(0, a, "/cookies")
		if got.status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("athd is back, and the reply is %d %s", got.status, got.body)
		}
	}
}

// A fault, since nobody would hear of the replies.
func TestLinksAreNotRewrittenWithoutHearingOfReplies(t *testing.T) {
	w := newWorld(t, setup{})
	status, answer, err := w.Operate(0, http.MethodPost, ath.AdminProvidersPath, tools("https://api.example", true))
	if err != nil || status != 400 || !strings.Contains(answer, "/rewrite_links") || !strings.Contains(answer, "envoy.replies: checked") {
		t.Errorf("%d %s, %v", status, answer, err)
	}
}

// Each replica lets a consent make as many calls as the limit says, and the API sees
// no other.
// proves: P-12
func TestTheLimitOfAGrantIsEachReplicas(t *testing.T) {
	for door, envoy := range map[string]string{"by ext_authz": "", "by ext_proc": "filter: ext_proc"} {
		t.Run(door, func(t *testing.T) {
			w := newWorld(t, setup{envoy: envoy, limits: "calls_per_grant: 5/h"})
			a, other := w.hold("gate", time.Hour), w.hold("gate", time.Hour)
			for i := range w.Envoy {
				passed := 0
				for range 12 {
					got := w.call(i, a, "/cookies")
					if got.status == 200 {
						passed++
						continue
					}
					if got.status != 429 || got.reason != string(ath.RateLimited) || got.header.Get("Retry-After") == "" || got.header.Get("X-Ath-Decision-Id") == "" || got.header.Get("X-Kept") != "" {
						t.Fatalf("replica %d: %d %v %s", i, got.status, got.header, got.body)
					}
				}
				if passed != 5 {
					t.Errorf("replica %d let %d calls pass, want 5", i, passed)
				}
				if got := w.call(i, other, "/cookies"); got.status != 200 {
					t.Errorf("another's call on replica %d: %d %s", i, got.status, got.body)
				}
				w.counts(i, `athd_decisions_total{provider="gate",reason="rate_limited"}`, 7)
			}
			if n := w.tls.calls.Load(); n != 12 {
				t.Errorf("the API saw %d calls", n)
			}
			found, err := w.do(w.discovery())
			if err != nil || !strings.Contains(found.body, `"calls_per_grant":{"calls":5,"seconds":3600}`) {
				t.Errorf("%s %v", found.body, err)
			}
		})
	}
}

func (w *world) discovery() *http.Request {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.At[0]+"/.well-known/ath.json", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return req
}
