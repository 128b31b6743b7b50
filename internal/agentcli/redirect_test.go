package agentcli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/identity"
)

func expected() pendingRedirect {
	return pendingRedirect{client.Authorization{State: ath.NewSecret("the-state"), Session: ath.NewSecret("ath_sess_1"), Issuer: "https://gw.example"}}
}

const goodAnswer = "state=the-state&ath_session_id=ath_sess_1&session_id=ath_sess_1&success=true&iss=https%3A%2F%2Fgw.example&code=ath_code_1"

func TestRedirectAnswerMustBeOfThisAuthorization(t *testing.T) {
	for _, c := range []struct {
		name, query, want string
		ours              bool
	}{
		{"the answer", goodAnswer, "", true},
		{"no state", strings.Replace(goodAnswer, "state=the-state&", "", 1), "not carry its state", false},
		{"another state", strings.Replace(goodAnswer, "the-state", "a-state", 1), "not carry its state", false},
		{"the state and another", goodAnswer + "&state=x", "not carry its state", false},
		{"another session", strings.Replace(goodAnswer, "ath_session_id=ath_sess_1", "ath_session_id=x", 1), "another session", false},
		{"another issuer", strings.Replace(goodAnswer, "gw.example", "evil.example", 1), "comes from", true},
		{"no issuer", strings.Replace(goodAnswer, "iss=", "is=", 1), "comes from", true},
		{"two issuers", goodAnswer + "&iss=https://gw.example", "comes from", true},
		{"an issuer with a slash more", strings.Replace(goodAnswer, "gw.example", "gw.example%2F", 1), "comes from", true},
		{"no code", strings.Replace(goodAnswer, "code=ath_code_1", "", 1), "no code", true},
		{"two codes", goodAnswer + "&code=x", "no code", true},
		{"the user said no", "state=the-state&ath_session_id=ath_sess_1&error=access_denied", "did not allow it", true},
		{"another's no", "state=x&ath_session_id=ath_sess_1&error=access_denied", "not carry its state", false},
		{"it failed, in words that steer", "state=the-state&ath_session_id=ath_sess_1&error=server_error&error_description=%1B%5B2J", "server_error: ?[2J", true},
		{"nothing", "", "not carry its state", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, err := url.ParseQuery(c.query)
			if err != nil {
				t.Fatal(err)
			}
			code, ours, err := expected().code(q)
			if c.want == "" && (err != nil || !code.Equal("ath_code_1")) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || ours != c.ours {
				t.Errorf("ours %v, err = %v", ours, err)
			}
			pasted, err := expected().pasted(" https://agent.example/cb?x=1&" + c.query + "\r\n")
			if (err == nil) != (c.want == "") || err == nil && !pasted.Equal("ath_code_1") {
				t.Errorf("pasted: %v", err)
			}
		})
	}
}

func TestPastedText(t *testing.T) {
	for text, ok := range map[string]bool{"ath_code_x\n": true, "": false, "\n": false, "hello": false, "https://agent.example/cb": false, strings.Repeat("a", 2*maxPastedBytes): false} {
		if _, err := expected().readPasted(t.Context(), strings.NewReader(text)); (err == nil) != ok {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := expected().readPasted(ctx, nobodyTypes{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// nobodyTypes is a terminal at which nobody types.
type nobodyTypes struct{}

func (nobodyTypes) Read([]byte) (int, error) { select {} }

func TestListenerTakesOneAnswer(t *testing.T) {
	l, err := listenForRedirect()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	get := func(query string) (int, http.Header) {
		t.Helper()
		resp, err := http.Get(l.URI + "?" + query)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode, resp.Header
	}
	if status, _ := get(goodAnswer); status != http.StatusBadRequest {
		t.Errorf("before anything is awaited: %d", status)
	}
	done := make(chan answer, 1)
	go func() {
		code, err := l.wait(t.Context(), expected())
		done <- answer{code, err}
	}()
	for l.waitsFor() == nil {
		time.Sleep(time.Millisecond) // waits for the goroutine
	}
	if status, _ := get("state=evil"); status != http.StatusBadRequest {
		t.Errorf("another state: %d", status)
	}
	// DNS rebinding: a name of somebody else's that leads to this port.
	rebound, err := http.NewRequestWithContext(t.Context(), "GET", l.URI+"?"+goodAnswer, nil)
	if err != nil {
		t.Fatal(err)
	}
	rebound.Host = "evil.example"
	if resp, err := http.DefaultClient.Do(rebound); err != nil || resp.StatusCode != http.StatusNotFound || l.waitsFor() == nil {
		t.Errorf("under another host: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	status, header := get(goodAnswer)
	if status != http.StatusOK || header.Get("Referrer-Policy") != "no-referrer" || header.Get("Cache-Control") != "no-store" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the answer: %d %v", status, header)
	}
	if got := <-done; got.err != nil || !got.code.Equal("ath_code_1") {
		t.Errorf("err = %v", got.err)
	}
	if status, _ := get(goodAnswer); status != http.StatusBadRequest {
		t.Errorf("a second time: %d", status)
	}
}

func (l *redirectListener) waitsFor() *pendingRedirect {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expects
}

func TestListenerGivesUp(t *testing.T) {
	l, err := listenForRedirect()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.wait(ctx, expected()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

// The document is at the agent id's path, and nothing else is anywhere.
func TestPublishedDocument(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	id, err := idOn(listener)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := identity.New(t, id, "An agent")
	server := publish(listener, a)
	defer server.Close()
	if !isServedAt(id, listener) || isServedAt("http://127.0.0.1:1/agent.json", listener) || isServedAt("https://agent.example/agent.json", listener) {
		t.Error("isServedAt cannot tell the port")
	}
	for path, want := range map[string]int{id: 200, id + "/": 404, strings.TrimSuffix(id, "agent.json"): 404, id + "?x=1": 200} {
		resp, err := http.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

// A person pastes what a page shows: whatever that is, nothing panics and no
// code comes out of an answer that does not carry the state.
func FuzzPasted(f *testing.F) {
	f.Add("ath_code_1")
	f.Add("https://agent.example/cb?" + goodAnswer)
	f.Fuzz(func(t *testing.T, text string) {
		code, err := expected().pasted(text)
		if err == nil && !strings.Contains(text, "the-state") && !strings.Contains(text, "%") && !strings.HasPrefix(strings.TrimSpace(text), "ath_code_") {
			t.Errorf("a code of %d bytes came out of it", len(code.Reveal()))
		}
	})
}
