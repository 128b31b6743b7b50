package wire

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

func TestRecorderKeepsTheExchangeAndChangesNothing(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Seen", r.Header.Get("X-ATH-Agent-ID"))
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"code":"USER_DENIED","message":"`+string(body)+`"}`)
	}))
	defer srv.Close()
	var got *Exchange
	by := &Recorder{Base: Local(), Observe: func(ex *Exchange) { got = ex }}
	defer by.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/x?y=1", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = AsAgent("https://agent.example/", ath.NewSecret("ath_tk_1"))
	resp, err := by.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := io.ReadAll(resp.Body)
	if err != nil || string(reply) != `{"code":"USER_DENIED","message":"hello"}` || resp.Header.Get("X-Seen") != "https://agent.example/" {
		t.Errorf("the caller got %s, %v", reply, err)
	}
	if got == nil || got.Method != "POST" || got.URL != srv.URL+"/x?y=1" || string(got.Body) != "hello" || string(got.Reply) != string(reply) ||
		got.Sent.Get("Authorization") != "Bearer ath_tk_1" || got.Status != 403 || got.Refusal().Code != ath.UserDenied {
		t.Errorf("recorded %+v", got)
	}
}

func TestLongReplyIsAnError(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", MaxReplyBytes+1)) }))
	defer srv.Close()
	by := Local()
	defer by.CloseIdleConnections()
	if ex, err := Call(t.Context(), by, "GET", srv.URL, nil, nil); err == nil {
		t.Errorf("%d bytes were kept", len(ex.Reply))
	}
}
