package traps

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

func TestP5WhatAnAPISees(t *testing.T) { onEachRoute(t, whatAnAPISees) }

func whatAnAPISees(t *testing.T, newRig rigOf) {
	r := newRig(t)
	noise := []string{
		"Cookie: session=1", "X-ATH-Other: 1", "X-Ath-Session: 2", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil",
		"Forwarded: for=10.0.0.1", "Via: 1.1 x", "X-Real-IP: 10.0.0.1", "X-Envoy-Original-Path: /x", "X-Envoy-Max-Retries: 5",
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Baggage: a=b", "Accept: text/plain", "User-Agent: agent",
	}
	one := func(t *testing.T, got []seen) http.Header {
		t.Helper()
		if len(got) != 1 {
			t.Fatalf("the API saw %d requests", len(got))
		}
		if all := got[0].header.Values("Authorization"); len(all) != 1 || all[0] != "Bearer "+userToken {
			t.Errorf("the API saw authorization %q", all)
		}
		for name, values := range got[0].header {
			if strings.HasPrefix(name, "X-Ath-") || name == "Cookie" || strings.Contains(strings.Join(values, ""), ath.TokenPrefix) {
				t.Errorf("the API saw %s: %q", name, values)
			}
		}
		return got[0].header
	}
	t.Run("a provider sees nothing of us, of the way, and no cookie", func(t *testing.T) {
		r.play(askReal)
		if response, body := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x", noise...)); response.StatusCode != 200 {
			t.Fatalf("%s: %s", response.Status, body)
		}
		h := one(t, r.plain.take())
		if names := slices.Sorted(maps.Keys(h)); !slices.Equal(names, []string{"Accept", "Authorization", "Host", "User-Agent"}) {
			t.Errorf("the provider saw %v", names)
		}
		if h.Get("Host") != r.plain.addr {
			t.Errorf("host %q, want the API's own", h.Get("Host"))
		}
	})
	t.Run("an app sees its host and the client's real address", func(t *testing.T) {
		r.play(askReal)
		if response, body := r.rawH1(r.h1("app", "GET", "/x", noise...)); response.StatusCode != 200 {
			t.Fatalf("%s: %s", response.Status, body)
		}
		h := one(t, r.plain.take())
		// For a loopback client Envoy writes an address of the machine's own.
		if from := h.Values("X-Forwarded-For"); len(from) != 1 || from[0] == "10.0.0.1" || net.ParseIP(from[0]) == nil {
			t.Errorf("the app was told that the client is %q", from)
		}
		if h.Get("Host") != "gw.example" || h.Get("X-Forwarded-Host") != "" || h.Get("Forwarded") != "" {
			t.Errorf("the app saw %v", h)
		}
		for name := range h {
			if strings.HasPrefix(name, "X-Envoy-") {
				t.Errorf("the app saw %s", name)
			}
		}
	})
	t.Run("a provider behind TLS and HTTP/2", func(t *testing.T) {
		r.play(askReal)
		if got := r.rawH2(r.h2("tls", "GET", "/ath/proxy/tls/x", [2]string{"cookie", "a=b"}), "", nil); got != "200" {
			t.Fatalf("status %s", got)
		}
		if h := one(t, r.tls.take()); h.Get("Proto") != "HTTP/2.0" || h.Get("Host") != r.tls.addr {
			t.Errorf("the provider saw %v", h)
		}
	})
	t.Run("the reply keeps its server header", func(t *testing.T) {
		r.play(askReal)
		response, _ := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x"))
		if got := response.Header.Get("Server"); got != "raw" {
			t.Errorf("server %q", got)
		}
	})
}

// Two headers of one name are never one good one.
func TestDoubledHeadersAreRefused(t *testing.T) { onEachRoute(t, doubledHeadersAreRefused) }

func doubledHeadersAreRefused(t *testing.T, newRig rigOf) {
	r := newRig(t)
	good := "Bearer " + token("plain")
	tests := []struct {
		name, header, second string
		status               int
	}{
		{"P-1: two tokens", "authorization", good, 401},
		{"P-1: a token and another", "authorization", "Basic eDp5", 401},
		{"P-2: the agent twice", "x-ath-agent-id", agentID, 403},
		{"P-2: two agents", "x-ath-agent-id", "https://other.example", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.play(askReal)
			response, body := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x", tt.header+": "+tt.second))
			if response.StatusCode != tt.status {
				t.Errorf("HTTP/1.1: %s: %s", response.Status, body)
			}
			got := r.rawH2(r.h2("plain", "GET", "/ath/proxy/plain/x", [2]string{tt.header, tt.second}), "", nil)
			if got[:1] != "4" {
				t.Errorf("HTTP/2: %s", got)
			}
			if up := r.plain.take(); len(up) > 0 {
				t.Errorf("the API saw %+v", up)
			}
		})
	}
	t.Run("an underscore is no hyphen", func(t *testing.T) {
		response, body := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x", "x_ath_agent_id: x"))
		mustBeError(t, response, body, 400, ath.InvalidRequest)
	})
}

// Trailers are not checked, so none may arrive. They are announced, since
// net/http shows an API no others.
func TestRequestTrailersAreDropped(t *testing.T) { onEachRoute(t, requestTrailersAreDropped) }

func requestTrailersAreDropped(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.play(askReal)
	status := r.rawH2(r.h2("tls", "POST", "/ath/proxy/tls/x", [2]string{"trailer", "x-ath-agent-id, x-other, remote-user"}), "body",
		[][2]string{{"x-ath-agent-id", "evil"}, {"x-other", "1"}, {"remote-user", "evil"}})
	if status != "200" {
		t.Fatalf("status %s", status)
	}
	got := r.tls.take()
	if len(got) != 1 || got[0].body != 4 {
		t.Fatalf("the API saw %+v", got)
	}
	if _, announced := got[0].trailer["X-Other"]; !announced {
		t.Errorf("the announcement did not arrive: the API could not have shown a trailer")
	}
	for name, values := range got[0].trailer {
		if len(values) > 0 {
			t.Errorf("the API saw the trailer %s: %q", name, values)
		}
	}
}
