package traps

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// Connections on which nothing is said make room for others within seconds.
// S-3
func TestSilentConnectionsAreClosed(t *testing.T) {
	const most = 200
	r := newRig(t)
	r.restart(func(config string) string {
		return strings.Replace(config, "max_active_downstream_connections: '10000'", fmt.Sprintf("max_active_downstream_connections: '%d'", most), 1)
	})
	r.play(askReal)
	began := time.Now()
	var silent []net.Conn
	for range most + 100 {
		conn, err := net.Dial("tcp", r.addr())
		if err != nil {
			break // full
		}
		t.Cleanup(func() { conn.Close() })
		if len(silent)%3 == 1 { // who begins, and stops
			io.WriteString(conn, "GET /ath/proxy/plain/x HTTP/1.1\r\nHost: ")
		}
		silent = append(silent, conn)
	}
	ask := func() bool {
		conn, err := net.Dial("tcp", r.addr())
		if err != nil {
			return false
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(3 * time.Second))
		io.WriteString(conn, r.h1("plain", "GET", "/ath/proxy/plain/x"))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err == nil && response.StatusCode == 200
	}
	if ask() {
		t.Fatal("there is room beside the silent ones: the limit does not hold")
	}
	for !ask() {
		if time.Since(began) > time.Minute { // ten seconds, and what a busy machine adds
			t.Fatalf("after %v there is no room", time.Since(began))
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("room after %v", time.Since(began).Round(100*time.Millisecond))
	for i, conn := range silent {
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("connection %d lives after %v", i, time.Since(began))
		}
	}
}

// Bodies that trickle wait in Envoy: athd sees whole ones.
// S-7
func TestTrickledBodiesStayInEnvoy(t *testing.T) {
	r := newRig(t)
	r.play(askReal)
	for range 200 {
		conn, err := net.Dial("tcp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, "POST /ath/token HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 1000\r\n\r\n{")
	}
	post := func(bytes int, more ...string) (*http.Response, string) {
		return r.rawH1(r.h1("plain", "POST", "/ath/token", append(more, fmt.Sprintf("Content-Length: %d", bytes))...) + strings.Repeat("x", bytes))
	}
	if response, body := post(64 << 10); response.StatusCode != 200 {
		t.Fatalf("a body of 64 KiB: %s %s", response.Status, body)
	}
	got := r.companion.take()
	if len(got) != 1 || got[0].body != 64<<10 {
		t.Errorf("the companion sees %d requests", len(got))
	}
	response, body := post(64<<10 + 1)
	mustBeError(t, response, body, 413, ath.PayloadTooLarge)
	if got := r.companion.take(); len(got) != 0 {
		t.Errorf("the companion sees a body that is too large: %d", got[0].body)
	}
	// Towards APIs bodies stream, whatever their size.
	big := r.h1("plain", "POST", "/ath/proxy/plain/x", "Content-Length: 300000") + strings.Repeat("x", 300000)
	if response, body := r.rawH1(big); response.StatusCode != 200 || r.plain.take()[0].body != 300000 {
		t.Errorf("an upload: %s %s", response.Status, body)
	}
}
