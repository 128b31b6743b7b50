// Package walk sends bytes through a real Envoy and looks at the bytes that
// the API saw. Everything runs on what athd bootstrap prints.
package walk

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) { stage.Main(m) }

// A reply is what came back over a raw connection.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is the code of a refusal (E-1).
func (r reply) code() string {
	var e struct {
		Code    string
		Details map[string]any
	}
	if json.Unmarshal([]byte(r.body), &e) != nil {
		return "not JSON: " + r.body
	}
	return e.Code
}

func (r reply) details() map[string]any {
	var e struct{ Details map[string]any }
	json.Unmarshal([]byte(r.body), &e)
	return e.Details
}

// raw sends a request as it is written, line by line, and reads one reply.
func raw(t *testing.T, s *stage.Stage, lines ...string) reply {
	t.Helper()
	r, err := tryRaw(s, lines...)
	if err != nil {
		t.Fatal(err)
	}
	leak.Of(t).Refusal("a call", r.status, []byte(r.body))
	return r
}

const (
	// patience is after what time something does not happen, however busy the machine is.
	patience = 30 * time.Second
	// prompt is how long an answer may take that waits for nothing, on such a machine.
	prompt = 5 * time.Second
)

func tryRaw(s *stage.Stage, lines ...string) (reply, error) {
	c, err := net.DialTimeout("tcp", s.Host(), patience)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return reply{}, err
	}
	method, _, _ := strings.Cut(lines[0], " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return reply{resp.StatusCode, resp.Header, string(body)}, err
}

// request builds the lines of a request with the headers of an agent's call.
func request(s *stage.Stage, method, target, token, agentID string, more ...string) []string {
	return append([]string{
		fmt.Sprintf("%s %s HTTP/1.1", method, target), "Host: " + s.Host(),
		"Authorization: Bearer " + token, "X-ATH-Agent-ID: " + agentID,
	}, more...)
}

var bearer = regexp.MustCompile(`(?i)\r\nauthorization: ?([^\r]*)\r\n`)

// do sends a request through net/http, which is enough where no byte matters.
func do(t *testing.T, req *http.Request) reply {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	watch := leak.Of(t)
	watch.Refusal("a request", resp.StatusCode, body)
	if strings.HasPrefix(req.URL.Path, "/ath/admin/") {
		watch.Place("the reply of "+req.URL.Path, body)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}
