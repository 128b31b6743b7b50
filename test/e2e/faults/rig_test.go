// Package faults spoils the stream on which Envoy asks athd by ext_proc, in every
// way and at every moment: nothing may reach an API that was not judged, and nothing
// may hang longer than its time-out.
package faults

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/processor"
	"github.com/athd/athd/test/harness/realenvoy"
)

const (
	agentID   = "https://agent.example.com/agent.json"
	userToken = "the-users-own-oauth-token"
)

// A rig is a real Envoy with the generated configuration, a processor in the place
// of athd, and an API that records what it sees.
type rig struct {
	t         *testing.T
	envoy     *realenvoy.Envoy
	processor *processor.Server // that is spoiled
	judge     *processor.Server // that decides; the same one, or another
	api       *api
	token     string
	calls     int
	heals     bool // 401s of the API are looked into
}

func newRig(t *testing.T) *rig { return newRigOf(t, nil) }

// newRigOf may change the chain.
func newRigOf(t *testing.T, change func(*hcmv3.HttpConnectionManager)) *rig {
	t.Helper()
	r := newParts(t)
	r.judge = r.processor
	r.start(bootstrap.Config{ByExtProc: true}, func(b *bootstrapv3.Bootstrap) {
		if change != nil {
			config := b.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig()
			m := envoyconfig.Unpack(t, config, &hcmv3.HttpConnectionManager{})
			change(m)
			if err := config.MarshalFrom(m); err != nil {
				t.Fatal(err)
			}
		}
	})
	return r
}

// newParts is a rig before its Envoy starts.
func newParts(t *testing.T) *rig {
	t.Helper()
	return &rig{
		t: t, processor: processor.Start(t), api: newAPI(t),
		token: ath.NewToken(ath.Tag("faults----------")).Secret().Reveal(),
	}
}

// start starts Envoy on what athd bootstrap prints, and a change of that.
func (r *rig) start(c bootstrap.Config, change func(*bootstrapv3.Bootstrap)) {
	r.t.Helper()
	c.Listen, c.Admin, c.PublicURL = "127.0.0.1:0", "127.0.0.1:0", "http://localhost:8080"
	c.Authz, c.Companion = []string{r.judge.Addr}, []string{r.api.addr}
	plain := envoyconfig.GatewayProvider(r.t, "plain", "http://"+r.api.addr+"/base")
	plain.RetryOn401 = r.heals
	c.Providers = envoyconfig.Set(r.t, plain,
		envoyconfig.GatewayProvider(r.t, "other", "http://"+r.api.addr+"/other"))
	b := envoyconfig.Parse(r.t, envoyconfig.Generate(r.t, c))
	change(b)
	text, err := protojson.Marshal(b)
	if err != nil {
		r.t.Fatal(err)
	}
	r.envoy = realenvoy.Start(r.t, text)
}

// allow is what athd answers to a request's head that it allows.
func allow(md metadata.MD, q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	if processor.PartOf(q) != processor.RequestHead {
		return &extprocv3.ProcessingResponse{}
	}
	said, err := structpb.NewStruct(map[string]any{envoy.MetaNamespace: map[string]any{
		envoy.MetaAllow: true, envoy.MetaProvider: strings.Join(md[envoy.StreamProvider], ","), envoy.MetaDecision: "dec_faults", envoy.MetaHeld: "held",
		envoy.MetaRetry: true, // only a cluster that heals asks for it
	}})
	if err != nil {
		panic(err) // a test's own mistake
	}
	return &extprocv3.ProcessingResponse{DynamicMetadata: said, Response: &extprocv3.ProcessingResponse_RequestHeaders{
		RequestHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
			SetHeaders: []*corev3.HeaderValueOption{{
				Header:       &corev3.HeaderValue{Key: envoy.HeaderAuthorization, RawValue: []byte("Bearer " + userToken)},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
			RemoveHeaders: []string{envoy.HeaderAgentID},
		}}},
	}}
}

// An outcome is how a call ended.
type outcome struct {
	status int // 0: the connection ended without a reply
	header http.Header
	body   string
	took   time.Duration
	seen   []seen // by the API
}

// A kind of request holds back another part of itself while it is judged.
type kind string

const (
	plain   kind = "GET"
	upload  kind = "upload"
	upgrade kind = "WebSocket"
)

// call makes a call of an agent's.
func (r *rig) call(k kind) outcome {
	r.t.Helper()
	return r.callAt("x", k)
}

func (r *rig) callAt(path string, k kind) outcome {
	r.t.Helper()
	r.api.take()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	method, body := "GET", io.Reader(nil)
	if k == upload { // longer than what Envoy buffers, and of no length that it knows
		method, body = "POST", io.LimitReader(zeros{}, 256<<10)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://"+r.envoy.Addr("public")+"/ath/proxy/plain/"+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.token)
	q.Header.Set("X-ATH-Agent-ID", agentID)
	if k == upgrade {
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eDp5eDp5eDp5eDp5eDp5eA==",
		} {
			q.Header.Set(name, value)
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: k != upgrade}}
	defer client.CloseIdleConnections()
	began := time.Now()
	var out outcome
	if response, err := client.Do(q); err == nil {
		from := io.Reader(response.Body)
		if response.StatusCode == http.StatusSwitchingProtocols {
			from = io.LimitReader(from, int64(len("ok"))) // Envoy tells its end a second later
		}
		text, _ := io.ReadAll(from) // a stream that is reset ends here
		response.Body.Close()
		out.status, out.header, out.body = response.StatusCode, response.Header, string(text)
	}
	out.took = time.Since(began)
	out.seen = r.api.take()
	return out
}

// zeros is an upload without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// mustBeJudged holds what the API saw against what was allowed: no request that the
// processor did not allow, and each as it was changed.
func (r *rig) mustBeJudged(t *testing.T, o outcome, allowed bool) {
	t.Helper()
	if n := len(o.seen); n > 1 || n == 1 && !allowed {
		t.Errorf("the API saw %d requests: %+v", n, o.seen)
	}
	for _, s := range o.seen {
		if got := s.header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+userToken {
			t.Errorf("the API saw authorization %q", got)
		}
		if !strings.HasPrefix(s.target, r.api.addr+"/base/") {
			t.Errorf("the API saw %s", s.target)
		}
		for name, values := range s.header {
			if strings.HasPrefix(name, "X-Ath-") || strings.Contains(strings.Join(values, ""), ath.TokenPrefix) {
				t.Errorf("the API saw %s: %q", name, values)
			}
		}
	}
}

// A seen is a request as the API received it.
type seen struct {
	target string
	header http.Header
}

// An api answers "ok"; at /base/echo with the token that came in a header, at
// /base/rejected with 401 until another token comes; under /base/held only when it is released, and under /base/flow
// with "first" at once and "last" when it is released.
type api struct {
	addr    string
	mu      sync.Mutex
	all     []seen
	release chan struct{}
}

// hold makes the API wait until release is called.
func (a *api) hold() (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := make(chan struct{})
	a.release = c
	return sync.OnceFunc(func() { close(c) })
}

func newAPI(t *testing.T) *api {
	a := &api{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == ath.DrainHealthPath {
			return
		}
		a.mu.Lock()
		a.all = append(a.all, seen{r.Host + r.RequestURI, r.Header.Clone()})
		released := a.release
		a.mu.Unlock()
		io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/base/echo":
			w.Header().Set("X-Echo", r.Header.Get("Authorization"))
			io.WriteString(w, "ok")
			return
		case "/base/rejected":
			if r.Header.Get("Authorization") != "Bearer "+freshToken {
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, rejection)
				return
			}
			io.WriteString(w, "ok")
			return
		}
		if r.URL.Path == "/base/flow" {
			io.WriteString(w, "first\n")
			w.(http.Flusher).Flush()
		}
		if r.URL.Path != "/base/x" {
			select {
			case <-released:
			case <-r.Context().Done():
			}
		}
		if r.URL.Path == "/base/flow" {
			io.WriteString(w, "last\n")
			return
		}
		if r.Header.Get("Upgrade") != "" {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nok")
				conn.Close()
			}
			return
		}
		io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	a.addr = server.Listener.Addr().String()
	return a
}

// take returns what arrived since the last call.
func (a *api) take() []seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.all
	a.all = nil
	return out
}
