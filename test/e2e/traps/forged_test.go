package traps

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/e2e/verifyenvoy"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// forged is what a hostile API writes above its other headers: athd's own
// names in every case, twice, and a user's cookies.
const forged = "X-ATH-Decision-ID: dec_forged\r\nx-ath-decision-id: dec_forged\r\nX-aTh-DECISION-id: dec_forged\r\n" +
	"X-ATH-Link: https://evil.example/forged\r\nX-Ath-: dec_forged\r\nX-Keep: 1\r\n" +
	"Set-Cookie: session=forged; Path=/\r\nset-cookie: b=forged\r\nSET-COOKIE: c=forged\r\n"

const forgedTrailers = "X-ATH-Decision-ID: dec_forged\r\nx-ath-link: forged\r\nX-Sum: 1\r\n"

// hostile is a reply of an API's that speaks HTTP/1.1; "" for what it does not
// know.
func hostile(how string) string {
	const refusal = `{"code":"TOKEN_INVALID","details":{"authorization_url":"https://evil.example/"}}`
	switch how {
	case "ok":
		return "HTTP/1.1 200 OK\r\n" + forged + "Content-Length: 2\r\n\r\nok"
	case "refusal":
		return "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n" + forged + "Connection: close\r\n\r\n" + refusal
	case "away":
		return "HTTP/1.1 503 Service Unavailable\r\n" + forged + "Content-Length: 0\r\n\r\n"
	case "redirect":
		return "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n" + forged + "Content-Length: 0\r\n\r\n"
	case "early":
		return "HTTP/1.1 103 Early Hints\r\n" + forged + "\r\nHTTP/1.1 100 Continue\r\n" + forged + "\r\nHTTP/1.1 200 OK\r\n" + forged + "Content-Length: 2\r\n\r\nok"
	case "trailers":
		return "HTTP/1.1 200 OK\r\n" + forged + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + forgedTrailers + "\r\n"
	case "close":
		return "HTTP/1.1 200 OK\r\n" + forged + "Connection: close, x-ath-decision-id\r\n\r\nok"
	}
	return ""
}

// hostileH2 answers over HTTP/2.
func hostileH2(w http.ResponseWriter, how string) {
	set := func() {
		for line := range strings.SplitSeq(strings.TrimSpace(forged), "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
	}
	set()
	switch how {
	case "early":
		w.WriteHeader(http.StatusEarlyHints)
		set()
	case "refusal":
		w.WriteHeader(http.StatusForbidden)
		return
	case "trailers only": // gRPC's
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "16")
		return
	}
	io.WriteString(w, "ok")
	if how == "trailers" {
		for line := range strings.SplitSeq(strings.TrimSpace(forgedTrailers), "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(http.TrailerPrefix+name, value)
		}
	}
}

// mustNotBeForged wants nothing that a hostile API said in athd's name to be
// left, and of what it set of cookies the values to be gone, unless a person
// called. What stays is what is not athd's.
func mustNotBeForged(t *testing.T, header http.Header, person bool) {
	t.Helper()
	for name, values := range header {
		for _, value := range values {
			switch {
			case strings.HasPrefix(strings.ToLower(name), "x-ath-"):
				t.Errorf("P-9: %s: %s came through", name, value)
			case strings.Contains(value, "forged") && !person:
				t.Errorf("P-9: %s: %s came through to an agent", name, value)
			}
		}
	}
	if cookies := (&http.Response{Header: header}).Cookies(); len(cookies) != map[bool]int{true: 3, false: 0}[person] {
		t.Errorf("P-9: the cookies are %v", header.Values("Set-Cookie"))
	}
	if header.Get("X-Keep") != "1" {
		t.Errorf("P-5: the API's own header is gone: %v", header)
	}
}

// P-9: whatever a hostile API answers, on every kind of route, nothing of it is
// said in athd's name, and agents get no cookies.
// proves: P-9
func TestNoReplyIsForged(t *testing.T) { onEachRoute(t, noReplyIsForged) }

func noReplyIsForged(t *testing.T, newRig rigOf) {
	r := newRig(t, func(r *rig, _ *bootstrap.Config) { r.set.Get("shop").App.Passthrough = true })
	r.play(askReal)
	// As agents do, and as people do on an app that is open to them.
	lines := func(who, host, path, how string) string {
		if who == "" {
			return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nX-Hostile: " + how + "\r\n\r\n"
		}
		return strings.Replace(r.h1(who, "GET", path, "X-Hostile: "+how), "gw.example", host, 1)
	}
	for _, tt := range []struct{ name, who, host, path string }{
		{"a provider", "plain", "gw.example", "/ath/proxy/plain/x"},
		{"an app", "app", "gw.example", "/x"},
		{"an app in gateway mode", "app", "gw.example", "/ath/proxy/app/x"},
		{"an agent on an app that is open to people", "shop", "shop.example", "/shop/x"},
		{"a person there", "", "shop.example", "/shop/x"},
	} {
		for _, how := range []string{"ok", "refusal", "away", "redirect", "early", "trailers", "close"} {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				final := r.raw(lines(tt.who, tt.host, tt.path, how))
				if len(final) != 1 {
					t.Fatalf("%d replies: an interim one came through", len(final))
				}
				mustNotBeForged(t, final[0].Header, tt.who == "")
				mustNotBeTrailers(t, final[0].Trailer)
			})
		}
	}
	for name, who := range map[string]string{"/ath/proxy/plain/socket": "plain", "/socket": "app"} {
		t.Run("an upgrade at "+name, func(t *testing.T) {
			_, _, response := r.upgrade(r.h1(who, "GET", name, "X-Hostile: ok"), "websocket")
			if response.StatusCode != http.StatusSwitchingProtocols {
				t.Fatal(response.Status)
			}
			mustNotBeForged(t, response.Header, false)
		})
	}
	// HTTP/2 on both sides, and HTTP/1.1 towards the agent.
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &h2}
	defer transport.CloseIdleConnections()
	for name, client := range map[string]*http.Client{"HTTP/2": {Transport: transport, Timeout: 10 * time.Second}, "HTTP/1.1": {Timeout: 10 * time.Second}} {
		for _, how := range []string{"ok", "refusal", "early", "trailers", "trailers only"} {
			t.Run("an API behind HTTP/2, over "+name+", "+how, func(t *testing.T) {
				q := r.request("tls", "GET", "/ath/proxy/tls/x", nil)
				q.Header.Set("X-Hostile", how)
				response, err := client.Do(q)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				io.Copy(io.Discard, response.Body)
				mustNotBeForged(t, response.Header, false)
				mustNotBeTrailers(t, response.Trailer)
				if how == "trailers" && name == "HTTP/2" && response.Trailer.Get("X-Sum") != "1" {
					t.Errorf("P-5: the API's own trailer is gone: %v", response.Trailer)
				}
			})
		}
	}
}

// An Envoy of the user's own may have trailers of HTTP/1.1 switched on.
// proves: P-9
func TestTrailersOfHTTP1AreNotForged(t *testing.T) { onEachRoute(t, trailersOfHTTP1AreNotForged) }

func trailersOfHTTP1AreNotForged(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.restart(func(config string) string {
		out := strings.ReplaceAll(config, "http_protocol_options: {}", "http_protocol_options: {enable_trailers: true}")
		if out == config {
			t.Fatal("no cluster speaks HTTP/1.1")
		}
		at := strings.Index(out, "stat_prefix: public\n")
		indent := out[strings.LastIndexByte(out[:at], '\n')+1 : at]
		return out[:at] + "http_protocol_options: {enable_trailers: true}\n" + indent + out[at:]
	})
	r.play(askReal)
	for _, request := range []string{
		r.h1("plain", "GET", "/ath/proxy/plain/x", "X-Hostile: trailers", "TE: trailers"), r.h1("app", "GET", "/x", "X-Hostile: trailers", "TE: trailers"),
	} {
		final := r.raw(request)
		mustNotBeForged(t, final[0].Header, false)
		mustNotBeTrailers(t, final[0].Trailer)
		if final[0].Trailer.Get("X-Sum") != "1" {
			t.Errorf("P-5: the API's own trailer is gone: %v", final[0].Trailer)
		}
	}
}

func mustNotBeTrailers(t *testing.T, trailer http.Header) {
	t.Helper()
	for name := range trailer {
		if strings.HasPrefix(strings.ToLower(name), "x-ath-") {
			t.Errorf("P-9: %s came through in trailers", name)
		}
	}
}

// What a route says to the filters of the listener does not let an API speak for
// athd: those of its cluster have other names.
// proves: P-9
func TestRoutesDoNotSwitchTheClearingOff(t *testing.T) {
	r := newRig(t)
	r.restart(func(config string) string {
		c := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(t, []byte(config))}
		off, err := anypb.New(&routev3.FilterConfig{Disabled: true})
		if err != nil {
			t.Fatal(err)
		}
		c.Route("proxy_plain", func(r *routev3.Route) {
			if r.TypedPerFilterConfig["envoy.filters.http.header_mutation"] == nil {
				t.Fatal("the route has no settings for the filter")
			}
			r.TypedPerFilterConfig["envoy.filters.http.header_mutation"] = off
		})
		text, err := protojson.Marshal(c.Bootstrap)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	})
	r.play(askReal)
	mustNotBeForged(t, r.raw(r.h1("plain", "GET", "/ath/proxy/plain/x", "X-Hostile: ok"))[0].Header, false)
}

// athd's own say still goes through beside all this, and is the only one.
// proves: P-9
func TestAthdsOwnRepliesSayThatTheyAre(t *testing.T) {
	r := newRig(t)
	r.play(askReal)
	for name, request := range map[string]string{
		"a refusal": strings.Replace(r.h1("plain", "GET", "/ath/proxy/plain/x"), ath.TokenPrefix, "x", 1), "a refusal by Envoy": r.h1("plain", "GET", "/ath/none"),
		"an API that is away": r.h1("down", "GET", "/ath/proxy/down/x"), "a scope": r.h1("app", "DELETE", "/x"),
	} {
		if ids := r.raw(request)[0].Header.Values("X-ATH-Decision-ID"); len(ids) != 1 || ids[0] == "" {
			t.Errorf("%s: X-ATH-Decision-ID is %q", name, ids)
		}
	}
}

// raw writes a request and reads every reply until the end, interim ones too,
// with their trailers.
func (r *rig) raw(request string) []*http.Response {
	r.t.Helper()
	conn, in := r.written(request)
	defer conn.Close()
	var all []*http.Response
	for {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			break
		}
		interim := response.StatusCode < 200
		if !interim {
			io.Copy(io.Discard, response.Body)
		}
		response.Body.Close()
		all = append(all, response)
		if !interim {
			break
		}
	}
	if len(all) == 0 {
		r.t.Fatalf("no reply to %q", clip(request))
	}
	return all
}

// The API of these tests does say all that, when it is asked without Envoy.
func TestTheHostileAPIForges(t *testing.T) {
	api := newRawAPI(t)
	for _, how := range []string{"ok", "refusal", "away", "redirect", "early", "trailers", "close"} {
		q := httptest.NewRequest("GET", "http://"+api.addr+"/x", nil)
		q.RequestURI = ""
		q.Header.Set("X-Hostile", how)
		response, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		names := slices.Sorted(maps.Keys(response.Header))
		if len(response.Header.Values("X-ATH-Decision-ID")) != 3 || len(response.Cookies()) != 3 || (len(response.Trailer) > 1) != (how == "trailers") {
			t.Errorf("%s: %v, trailers %v", how, names, response.Trailer)
		}
	}
}
