// Package runtime has providers that come while a real Envoy runs, whose
// configuration nobody touches: what its one route to all of them relies on.
package runtime

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// proves: O-1, P-3, P-5, P-9
func TestAProviderThatComesWhileEnvoyRunsIsReachedAtOnce(t *testing.T) {
	r := newRig(t)
	api := r.tlsAPI(openIP, "api.tools.test")
	r.dns.Set("api.tools.test", openIP)
	if got := r.get("tools", "products/7"); got.status != 403 || len(api.seen()) != 0 {
		t.Errorf("before it is there: %d %s", got.status, got.body)
	}
	r.add("tools", "https://api.tools.test:"+api.port+"/v2/base/")
	for _, http2 := range []bool{false, true} {
		got := r.by(r.client(http2), "tools", "products/7?a=%2F&b=/..//x", func(q *http.Request) {
			q.Header.Set("X-ATH-Upstream", "http")
			q.Header.Set("X-Forwarded-Host", "evil.test")
			q.Header.Set("X-Envoy-Original-Dst-Host", "127.0.0.1:1")
			q.Header.Set("Cookie", "a=b")
		})
		if got.status != 200 || got.body != "HTTP/2.0 /v2/base/products/7?a=%2F&b=/..//x" {
			t.Errorf("HTTP/2 %v: %d %s", http2, got.status, got.body)
		}
		if got.header.Get("X-ATH-Decision-ID") == "forged" || got.header.Get("Service-Worker-Allowed") != "" {
			t.Errorf("HTTP/2 %v: the API speaks for athd: %v", http2, got.header)
		}
	}
	for _, q := range api.seen() {
		if q.Host != "api.tools.test:"+api.port || q.Header.Get("Authorization") != "Bearer "+userToken {
			t.Errorf("the API saw host %q, Authorization %q", q.Host, q.Header.Get("Authorization"))
		}
		for name := range q.Header {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-") || lower == "cookie" || lower == "forwarded" {
				t.Errorf("the API saw %s: %q", name, q.Header[name])
			}
		}
	}
	r.remove("tools")
	if got := r.get("tools", "products/7"); got.status != 403 || len(api.seen()) != 2 {
		t.Errorf("after it has gone: %d %s", got.status, got.body)
	}
	r.untouched()
}

// proves: P-1, P-3
func TestTheRunTimeRouteIsBehindThoseOfFiles(t *testing.T) {
	r := newRig(t)
	if got := r.get("file", "x"); got.status != 200 || len(r.file.seen()) != 1 {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, path := range []string{"/ath/proxy", "/ath/proxy/", "/ath/proxy/tools", "/ath/proxyx"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.envoy.Addr("public")+path, nil)
		res, err := r.client(false).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		want := http.StatusUnauthorized // P-1 is before P-3
		if path == "/ath/proxyx" {
			want = http.StatusNotFound
		}
		if res.StatusCode != want {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// WebSockets are HTTP/1.1's, also at a server that speaks HTTP/2 as well; and athd
// judges by the scope rules who may open one.
func TestAWebSocketToARunTimeProvider(t *testing.T) {
	r := newRig(t)
	api := r.tlsAPI(openIP, "api.tools.test")
	r.dns.Set("api.tools.test", openIP)
	r.add("tools", "https://api.tools.test:"+api.port)
	if got := r.get("tools", "x"); got.body != "HTTP/2.0 /x" {
		t.Errorf("%d %s", got.status, got.body)
	}
	upgrade := func(q *http.Request) {
		q.Header.Set("Connection", "Upgrade")
		q.Header.Set("Upgrade", "websocket")
		q.Header.Set("Sec-Websocket-Version", "13")
		q.Header.Set("Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	}
	if got := r.get("tools", "socket", upgrade); got.status != 101 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.get("tools", "other", upgrade); got.status != 403 {
		t.Errorf("where no rule has it: %d %s", got.status, got.body)
	}
	if got := r.get("tools", "x"); got.body != "HTTP/2.0 /x" {
		t.Errorf("after it: %d %s", got.status, got.body)
	}
}

// One provider's host is none of another's business.
func TestWhatOneHostLacksIsItsOwnTrouble(t *testing.T) {
	r := newRig(t)
	api, other := r.tlsAPI(openIP, "api.tools.test", openIP), r.tlsAPI(openIP, "other.test")
	r.dns.Set("api.tools.test", openIP)
	r.dns.Set("wrong.test", openIP)
	r.dns.Hang("hang.test")
	r.add("tools", "https://api.tools.test:"+api.port)
	r.add("address", "https://"+openIP+":"+api.port)
	r.add("wrong", "https://wrong.test:"+other.port)
	r.add("nowhere", "https://nowhere.test:"+other.port)
	r.add("hang", "https://hang.test:"+other.port)
	done := make(chan reply, 40)
	for range cap(done) {
		go func() { done <- r.get("hang", "x") }()
	}
	for i := range 3 {
		for _, id := range []string{"tools", "address"} {
			got := r.get(id, "x")
			// The first ones are answered while the lookup hangs.
			waited := i == 0 && got.took > time.Second && len(done) > 0
			if got.status != 200 || waited || got.took > patience {
				t.Errorf("%s: %d %s after %v", id, got.status, got.body, got.took)
			}
		}
		r.unreachable("wrong")
		r.unreachable("nowhere")
	}
	for range cap(done) {
		if got := <-done; got.status != 503 || got.message != cannotBeReached || got.took > patience {
			t.Errorf("a name server that does not answer: %d %s after %v", got.status, got.body, got.took)
		}
	}
	if n := len(other.seen()); n != 0 {
		t.Errorf("what has a certificate of another name saw %d requests", n)
	}
	// A host that was not there is looked up again.
	late := r.tlsAPI(openIP, "late.test")
	r.add("late", "https://late.test:"+late.port)
	r.unreachable("late")
	r.dns.Set("late.test", openIP)
	for deadline := time.Now().Add(20 * time.Second); r.get("late", "x").status != 200; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not reached")
		}
	}
}

// Thousands of requests hang at one API: those of others pass.
func TestAnAPIThatHangsRefusesNobodyElse(t *testing.T) {
	const hanging = 3000
	r := newRig(t)
	slow, api := r.tlsAPI(openIP, "slow.test"), r.tlsAPI(openIP, "api.tools.test")
	r.dns.Set("slow.test", openIP)
	r.dns.Set("api.tools.test", openIP)
	r.add("slow", "https://slow.test:"+slow.port)
	r.add("tools", "https://api.tools.test:"+api.port)
	slow.hang.Store(true)
	c := r.client(true)
	c.Timeout = 0
	var onTheWay atomic.Int64 // and hanging
	ask := func() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.envoy.Addr("public")+"/ath/proxy/slow/x", nil)
		req.Header.Set("Authorization", "Bearer "+token("slow"))
		req.Header.Set("X-ATH-Agent-ID", agentID)
		if res, err := c.Do(req); err == nil {
			res.Body.Close()
		}
		onTheWay.Add(-1)
	}
	// Some at a time, since what athd answers too late for does not hang.
	for deadline := time.Now().Add(3 * time.Minute); slow.hanging.Load() < hanging && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for onTheWay.Load() < slow.hanging.Load()+100 {
			onTheWay.Add(1)
			go ask()
		}
	}
	if n := slow.hanging.Load(); n < hanging {
		t.Errorf("%d requests hang, of %d", n, hanging)
	}
	for range 50 {
		if got := r.get("tools", "x"); got.status != 200 || got.took > patience {
			t.Fatalf("%d %s after %v", got.status, got.body, got.took)
		}
	}
}

// The guard admits what athd allowed for some provider and sent to the very host
// that is about to be called.
// proves: P-3
func TestTheGuardOfTheRunTimeRoute(t *testing.T) {
	r := newRig(t)
	api, other := r.tlsAPI(openIP, "api.tools.test"), r.tlsAPI(openIP, "other.test")
	r.dns.Set("api.tools.test", openIP)
	r.dns.Set("other.test", openIP)
	r.add("tools", "https://api.tools.test:"+api.port)
	meta := func(key string, value *structpb.Value) func(*authv3.CheckResponse) {
		return func(a *authv3.CheckResponse) {
			if value == nil {
				delete(a.DynamicMetadata.Fields, key)
			} else {
				a.DynamicMetadata.Fields[key] = value
			}
		}
	}
	authority := func(to string) func(*authv3.CheckResponse) {
		return func(a *authv3.CheckResponse) {
			for _, h := range a.GetOkResponse().GetHeaders() {
				if h.Header.Key == ":authority" {
					h.Header.Value = to
				}
			}
		}
	}
	for name, spoil := range map[string]func(*authv3.CheckResponse){
		"no allow":               meta("ath_allow", nil),
		"allow is no boolean":    meta("ath_allow", structpb.NewStringValue("true")),
		"no provider":            meta("provider", nil),
		"an empty provider":      meta("provider", structpb.NewStringValue("")),
		"no host":                meta("ath_host", nil),
		"an empty host":          meta("ath_host", structpb.NewStringValue("")),
		"another host":           meta("ath_host", structpb.NewStringValue("other.test:"+other.port)),
		"another authority":      authority("other.test:" + other.port),
		"an authority unchanged": authority("localhost"),
		"no metadata":            func(a *authv3.CheckResponse) { a.DynamicMetadata = nil },
		"an empty reply":         func(a *authv3.CheckResponse) { *a = authv3.CheckResponse{} },
		"a header more": func(a *authv3.CheckResponse) {
			ok := a.GetOkResponse()
			ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-envoy-original-dst-host", Value: "127.0.0.1:1"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r.spoils(spoil)
			if got := r.get("tools", "x"); got.status != 503 && got.status != 500 {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	r.spoils(nil)
	if n := len(api.seen()) + len(other.seen()); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	if got := r.get("tools", "x"); got.status != 200 {
		t.Errorf("unspoilt: %d %s", got.status, got.body)
	}
	r.untouched()
}
