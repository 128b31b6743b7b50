package traps

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRepliesStream(t *testing.T) { onEachRoute(t, repliesStream) }

func repliesStream(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.play(askReal)
	client := &http.Client{Timeout: time.Minute}
	response, err := client.Do(r.request("tls", "GET", "/ath/proxy/tls/events", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || line != "data: first\n" {
		t.Fatalf("%q, %v", line, err)
	}
	// The API ends the stream when its caller goes: the event came although nothing ended.
}

// zeros is an upload of n bytes that counts what was taken of it.
type zeros struct{ left, taken int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.left)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.left -= n
	z.taken += n
	return int(n), nil
}

func TestUploadsStream(t *testing.T) { onEachRoute(t, uploadsStream) }

func uploadsStream(t *testing.T, newRig rigOf) {
	const size = 32 << 20 // far above every buffer
	r := newRig(t)
	for _, id := range []string{"plain", "tls"} {
		t.Run(id, func(t *testing.T) {
			r.play(askReal)
			response, body := r.do(r.request(id, "POST", "/ath/proxy/"+id+"/x", &zeros{left: size}))
			if response.StatusCode != 200 {
				t.Fatalf("%s: %s", response.Status, body)
			}
			if got := append(r.plain.take(), r.tls.take()...); len(got) != 1 || got[0].body != size {
				t.Errorf("the API saw %+v", got)
			}
		})
	}
	t.Run("a refused upload sends nothing up", func(t *testing.T) {
		r.play(askReal)
		q := r.request("plain", "POST", "/ath/proxy/plain/x", &zeros{left: 1 << 20})
		q.Header.Set("Authorization", "Bearer none")
		q.Header.Set("Expect", "100-continue")
		if response, _ := r.do(q); response.StatusCode != 401 {
			t.Errorf("%s", response.Status)
		}
		if got := r.plain.take(); len(got) > 0 {
			t.Errorf("the API saw %+v", got)
		}
	})
}

// An app may speak WebSocket; its handshake is checked as any request.
func TestWebSocketOfAnApp(t *testing.T) {
	r := newRig(t)
	r.play(askReal)
	open := func(request string) (net.Conn, *bufio.Reader, *http.Response) {
		conn, err := net.Dial("tcp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, strings.Replace(request, "Connection: close", "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eDp5eDp5eDp5eDp5eDp5eA==", 1))
		in := bufio.NewReader(conn)
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, in, response
	}
	conn, in, response := open(r.h1("app", "GET", "/socket"))
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s", response.Status)
	}
	io.WriteString(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	got := r.plain.take()
	if len(got) != 1 || got[0].header.Get("Authorization") != "Bearer "+userToken {
		t.Errorf("the app saw %+v", got)
	}
	if _, _, response := open(strings.Replace(r.h1("app", "GET", "/socket"), "ath_tk_", "x", 1)); response.StatusCode != 401 {
		t.Errorf("without a token: %s", response.Status)
	}
}
