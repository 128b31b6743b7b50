package traps

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// upgrade opens a connection and asks to switch protocols on it.
func (r *rig) upgrade(request, protocol string) (net.Conn, *bufio.Reader, *http.Response) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, strings.Replace(request, "Connection: close", "Connection: upgrade\r\nUpgrade: "+protocol+
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eDp5eDp5eDp5eDp5eDp5eA==", 1))
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return conn, in, response
}

// F-19: an agent gets a WebSocket where a rule of its token's scope says so, in
// both modes, and athd's own refusal anywhere else.
// proves: P-4, E-2
func TestWebSocketsNeedARule(t *testing.T) { onEachRoute(t, webSocketsNeedARule) }

func webSocketsNeedARule(t *testing.T, newRig rigOf) {
	r := newRig(t)
	for _, tt := range []struct {
		name, provider, path, protocol string
		status                         int
		code                           ath.Code
	}{
		{"in gateway mode", "plain", "/ath/proxy/plain/socket", "websocket", 101, ""},
		{"natively", "app", "/socket", "websocket", 101, ""},
		{"an app in gateway mode", "app", "/ath/proxy/app/socket", "websocket", 101, ""},
		{"in capitals", "plain", "/ath/proxy/plain/socket", "WebSocket", 101, ""},
		{"no rule, in gateway mode", "plain", "/ath/proxy/plain/other", "websocket", 403, ath.ScopeNotApproved},
		{"no rule, natively", "app", "/other", "websocket", 403, ath.ScopeNotApproved},
		{"another provider's token", "app", "/ath/proxy/plain/socket", "websocket", 403, ath.ProviderMismatch},
		{"a path that is not canonical", "plain", "/ath/proxy/plain//socket", "websocket", 400, ath.InvalidRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.play(askReal)
			conn, in, response := r.upgrade(r.h1(tt.provider, "GET", tt.path), tt.protocol)
			if response.StatusCode != tt.status {
				t.Fatalf("%s", response.Status)
			}
			up := r.plain.take()
			if tt.status != 101 {
				body, _ := io.ReadAll(response.Body)
				mustBeError(t, response, string(body), tt.status, tt.code)
				var e struct {
					Details struct {
						ID string `json:"decision_id"`
					}
				}
				if json.Unmarshal(body, &e); !strings.HasPrefix(e.Details.ID, "dec_") || len(up) > 0 {
					t.Errorf("%s; the API saw %+v", body, up)
				}
				return
			}
			io.WriteString(conn, "hello\n")
			if line, err := in.ReadString('\n'); line != "hello\n" {
				t.Fatalf("%q, %v", line, err)
			}
			if len(up) != 1 || up[0].header.Get("Authorization") != "Bearer "+userToken {
				t.Errorf("the API saw %+v", up)
			}
			for name := range up[0].header {
				if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ath-") || strings.HasPrefix(lower, "x-envoy-") {
					t.Errorf("the API saw %s", name)
				}
			}
		})
	}
}

// No other protocol is opened: Envoy refuses it, or takes what asks for it away.
func TestOtherProtocolsAreNotOpened(t *testing.T) { onEachRoute(t, otherProtocolsAreNotOpened) }

func otherProtocolsAreNotOpened(t *testing.T, newRig rigOf) {
	r := newRig(t)
	for protocol, want := range map[string]int{"h2c": 200, "TLS/1.2": 403, "spdy": 403, "websocket, h2c": 403} {
		r.play(askReal)
		_, _, response := r.upgrade(r.h1("plain", "GET", "/ath/proxy/plain/socket"), protocol)
		up := r.plain.take()
		if response.StatusCode != want || (len(up) > 0) != (want == 200) {
			t.Errorf("%s: %s, the API saw %+v", protocol, response.Status, up)
		}
		for _, s := range up {
			if s.header.Get("Upgrade") != "" {
				t.Errorf("%s: the API saw Upgrade: %q", protocol, s.header.Get("Upgrade"))
			}
		}
	}
}

// S-9: what an agent has opened ends when its token does: a WebSocket, a stream
// of events and an upload that does not end, whatever the agent sends beside.
// proves: T-6
func TestNothingOutlivesTheToken(t *testing.T) { onEachRoute(t, nothingOutlivesTheToken) }

func nothingOutlivesTheToken(t *testing.T, newRig rigOf) {
	r := newRig(t)
	const life = 1200 * time.Millisecond
	const busy = 10 * time.Second // none of what is opened here ends by itself, and no client goes before that
	r.mu.Lock()
	r.life = life
	r.mu.Unlock()
	// ends reads until the end, and says when the last byte came.
	ends := func(t *testing.T, start time.Time, from io.Reader) {
		t.Helper()
		last, buffer := start, make([]byte, 4096)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				last = time.Now()
			}
			if err != nil {
				break
			}
		}
		// The connection may stay open for a second more; nothing goes through. How soon
		// is held by make bench-streams: here a busy machine may be late.
		if took := time.Since(start); last.Sub(start) > life+busy || took > life+2*busy || took < life/2 {
			t.Errorf("the last byte came after %v, the end after %v", last.Sub(start), took)
		}
	}
	for name, more := range map[string]string{
		"a WebSocket": "", "a WebSocket that asks for longer": "X-ATH-Stream-Ms: 99999999\r\nX-Envoy-Upstream-Stream-Duration-Ms: 99999999\r\n",
		"a WebSocket that asks for none": "X-ATH-Stream-Ms: \r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r.play(askReal)
			start := time.Now()
			conn, in, response := r.upgrade(strings.Replace(r.h1("plain", "GET", "/ath/proxy/plain/socket"), "\r\n\r\n", "\r\n"+more+"\r\n", 1), "websocket")
			if response.StatusCode != 101 {
				t.Fatalf("%s", response.Status)
			}
			go func() {
				for {
					if _, err := fmt.Fprintln(conn, "tick"); err != nil {
						return
					}
					time.Sleep(50 * time.Millisecond) // the pace of the stream
				}
			}()
			ends(t, start, in)
		})
	}
	t.Run("a stream of events", func(t *testing.T) {
		r.play(askReal)
		start := time.Now()
		q := r.request("tls", "GET", "/ath/proxy/tls/events", nil)
		q.Header.Set("X-Envoy-Upstream-Stream-Duration-Ms", "99999999")
		response, err := (&http.Client{Timeout: 3 * busy}).Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		ends(t, start, response.Body)
		r.envoy.WaitAccessLog("/events", "UMSDR")
	})
	t.Run("an upload without an end", func(t *testing.T) {
		r.play(askReal)
		start := time.Now()
		body, feed := io.Pipe()
		defer feed.Close()
		go func() {
			for {
				if _, err := feed.Write([]byte("tick")); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond) // the pace of the stream
			}
		}()
		response, err := (&http.Client{Timeout: 3 * busy}).Do(r.request("tls", "POST", "/ath/proxy/tls/x", body))
		if err == nil {
			response.Body.Close()
			if response.StatusCode < 400 {
				t.Errorf("%s", response.Status)
			}
		}
		if took := time.Since(start); took > life+2*busy || took < life/2 {
			t.Errorf("the end came after %v: %v", took, err)
		}
	})
	t.Run("a short call is as it was", func(t *testing.T) {
		r.play(askReal)
		response, body := r.do(r.request("plain", "GET", "/ath/proxy/plain/x", nil))
		up := r.plain.take()
		if response.StatusCode != 200 || len(up) != 1 {
			t.Fatalf("%s: %s", response.Status, body)
		}
		for name := range up[0].header {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ath-") || strings.HasPrefix(lower, "x-envoy-") {
				t.Errorf("the API saw %s", name)
			}
		}
	})
}
