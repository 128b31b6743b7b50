package httpapi

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
)

func newTestServer(t *testing.T) *Server {
	t.Helper()
	limiter, err := newLimiter(Limits{}, func(string) {}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{Config: Config{
		Audit: audit.New(audit.Config{Writer: io.Discard}), Logger: slog.New(slog.DiscardHandler), Now: time.Now, Limits: limiter.Limits, Turns: NewTurns(), Limited: func(string) {},
	}, limiter: limiter}
}

// longBody is one that needs a buffer of those that are reused.
func longBody(c byte) string { return strings.Repeat(string(c), smallBody+1000) }

// A body is its request's own until the handler is through with it, whoever
// else sends long ones meanwhile.
func TestLongBodiesAreNotShared(t *testing.T) {
	s := newTestServer(t)
	serve := func(body string, h http.HandlerFunc) {
		r := httptest.NewRequest("POST", "/ath/token", strings.NewReader(body))
		s.Serve(httptest.NewRecorder(), r, LaneHandshake, h, s.Refuses)
	}
	served := false
	serve(longBody('a'), func(w http.ResponseWriter, r *http.Request) {
		for i := range 20 {
			serve(longBody('b'+byte(i)), func(http.ResponseWriter, *http.Request) {})
		}
		body, err := wholeBody(w, r)
		if err != nil || string(body) != longBody('a') {
			t.Errorf("%d bytes, %v, which begin with %.10q", len(body), err, body)
		}
		served = true
	})
	if !served || s.limiter.bodies.big != 0 || len(s.limiter.bodies.byPeer) != 0 {
		t.Errorf("served: %v; %d long bodies are left, of %v", served, s.limiter.bodies.big, s.limiter.bodies.byPeer)
	}
}

// What was decoded does not change with the buffer that it was read from.
func TestWhatWasDecodedIsNotInTheBuffer(t *testing.T) {
	for media, text := range map[string]string{
		"application/json":                  `{"client_id":"ath_1","client_secret":"s3cret","grant_type":"authorization_code","code":"c"}`,
		"application/x-www-form-urlencoded": `client_id=ath_1&client_secret=s3cret&grant_type=authorization_code&code=c`,
	} {
		read := []byte(text)
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Content-Type", media)
		r.Body = &body{read: read}
		var got api.TokenRequest
		if err := decode(httptest.NewRecorder(), r, &got); err != nil {
			t.Fatal(err)
		}
		for i := range read {
			read[i] = 'x'
		}
		want := api.TokenRequest{ClientID: "ath_1", ClientSecret: api.NewSecret("s3cret"), GrantType: api.GrantAuthorizationCode, Code: api.NewSecret("c")}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", media, got)
		}
	}
}
