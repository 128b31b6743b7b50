package probe_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/athd/athd/internal/probe"
)

func TestWhereAPublicURLLeads(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string // of the public URL SERVER
		kind   probe.Kind
		says   string
	}{
		"athd":                {200, `{"gateway_id":"SERVER"}`, "", ""},
		"another public_url":  {200, `{"gateway_id":"https://other.example"}`, probe.OtherURL, `"https://other.example"`},
		"another program":     {200, `<html>`, probe.AnotherOne, "another program"},
		"another's 404":       {404, `{}`, probe.AnotherOne, "it says 404"},
		"a redirect":          {302, `{"gateway_id":"SERVER"}`, probe.AnotherOne, "it says 302"},
		"Envoy, without athd": {503, `{"code":"INTERNAL_ERROR"}`, probe.NotToAthd, "listen.http"},
		"an endless reply":    {200, `{"gateway_id":"` + strings.Repeat("x", 17<<20), probe.AnotherOne, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var url string
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, strings.ReplaceAll(tt.body, "SERVER", url))
			}))
			defer s.Close()
			url = s.URL
			l := probe.Gateway(t.Context(), url)
			if l.Kind != tt.kind || (l.Missing == "") != (tt.kind == "") || !strings.Contains(l.Missing, tt.says) || l.Date.IsZero() || l.TLS == nil {
				t.Errorf("%q: %.300s", l.Kind, l.Missing)
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if lead := probe.Gateway(t.Context(), "http://"+l.Addr().String()); lead.Kind != probe.NobodyListens {
		t.Errorf("%+v", lead)
	}
}

// Browsers know such names without a resolver.
func TestNamesBelowLocalhostAreThisMachine(t *testing.T) {
	var url string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"gateway_id":%q}`, url) }))
	defer s.Close()
	url = strings.Replace(s.URL, "127.0.0.1", "no-such-name.localhost", 1)
	if l := probe.Gateway(t.Context(), url); l.Kind != "" {
		t.Errorf("%s: %s", l.Kind, l.Missing)
	}
	if l := probe.Gateway(t.Context(), "http://no-such-name.invalid"); l.Kind != probe.NoAnswer {
		t.Errorf("%s: %s", l.Kind, l.Missing)
	}
}

func TestReadyWantsAthd(t *testing.T) {
	for body, missing := range map[string]string{
		`{"status":"ready"}`: "",
		`{"status":"not_ready","checks":{"store":{"ok":false,"error":"away"},"grpc":{"ok":true},"http":{"ok":false}}}`: "not ready; away; http does not serve",
		`{"status":"draining","checks":{"store":{"ok":true},"grpc":{"ok":true},"http":{"ok":true}}}`:                   "draining",
		`{}`:     "none",
		`<html>`: "none",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }))
		r, err := probe.Ready(t.Context(), "tcp", s.Listener.Addr().String())
		s.Close()
		if missing == "none" {
			if err == nil || !strings.Contains(err.Error(), "is not athd") {
				t.Errorf("%s: %v", body, err)
			}
		} else if err != nil || r.Missing() != missing {
			t.Errorf("%s: %v, %v", body, r, err)
		}
	}
}
