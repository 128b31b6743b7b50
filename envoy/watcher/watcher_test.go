package watcher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extproc"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/envoy/watcher"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/watch"
)

// A world is an athd that watches, as Envoy sees it.
type world struct {
	*watch.Registry
	at      string
	client  extprocv3.ExternalProcessorClient
	changes chan tokenstore.Change

	mu     sync.Mutex
	reason authz.Reason // of all; "": they hold
}

func (w *world) Next(ctx context.Context) (tokenstore.Change, error) {
	select {
	case c := <-w.changes:
		return c, nil
	case <-ctx.Done():
		return tokenstore.Change{}, ctx.Err()
	}
}

func (*world) Age() time.Duration { return 0 }
func (*world) Close()             {}

func (w *world) holds(_ context.Context, h authz.Held) authz.Holding {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason != "" {
		return authz.Holding{Reason: w.reason}
	}
	return authz.Holding{Reason: authz.Allowed, Until: h.Until}
}

func (w *world) lose(r authz.Reason) {
	w.mu.Lock()
	w.reason = r
	w.mu.Unlock()
	w.JudgeAll()
}

func newWorld(t testing.TB, limits watch.Limits, keep bool) *world {
	t.Helper()
	w := &world{changes: make(chan tokenstore.Change)}
	quiet := slog.New(slog.DiscardHandler)
	log := audit.New(audit.Config{Writer: io.Discard})
	var err error
	if w.Registry, err = watch.New(watch.Config{
		Holds: w.holds, Changes: func() watch.Changes { return w }, Providers: provider.NewProviders(nil),
		Limits: limits, Keep: keep, Audit: log, Logger: quiet,
	}); err != nil {
		t.Fatal(err)
	}
	service, err := extproc.New(extproc.Config{Roles: exchange.Roles{envoy.RoleWatch: watcher.Watcher{Registry: w.Registry}}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{Services: []server.Service{service}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.at = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	running.Go(func() { _ = s.Serve(l) })
	conn, err := grpc.NewClient(w.at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	w.client = extprocv3.NewExternalProcessorClient(conn)
	t.Cleanup(func() {
		conn.Close()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(now)
		stop()
		running.Wait()
		log.Close()
	})
	w.changes <- tokenstore.Change{Kind: tokenstore.Everything} // it runs
	return w
}

// said is what the judge has said of an agent's request.
func said(edit func(map[string]string)) map[string]string {
	token := ath.NewToken(ath.NewTag())
	h := authz.Held{
		Tag: token.Tag(), Grant: token.Digest(), Agent: "https://agent.example/", Provider: "shop", Scope: "read", Rules: 1,
		Until: time.Now().Add(time.Hour),
	}
	m := map[string]string{
		envoy.MetaAllow: "true", envoy.MetaDecision: "dec_1", envoy.MetaReason: string(authz.Allowed),
		envoy.MetaAgent: h.Agent, envoy.MetaProvider: h.Provider, envoy.MetaScope: h.Scope, envoy.MetaHeld: h.Text(),
	}
	if edit != nil {
		edit(m)
	}
	return m
}

// context is the metadata that Envoy forwards.
func forwarded(said map[string]string) *corev3.Metadata {
	fields := map[string]*structpb.Value{}
	for key, value := range said {
		if fields[key] = structpb.NewStringValue(value); key == envoy.MetaAllow {
			fields[key] = structpb.NewBoolValue(value == "true")
		}
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{envoy.MetaNamespace: {Fields: fields}}}
}

func requestHead(said map[string]string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		MetadataContext: forwarded(said),
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{
			Headers: []*corev3.HeaderValue{{Key: ":method", RawValue: []byte("GET")}},
		}}},
	}
}

func replyHead(said map[string]string, last bool) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		MetadataContext: forwarded(said),
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
			Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: ":status", RawValue: []byte("200")}}}, EndOfStream: last,
		}},
	}
}

func trailers() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{
		ResponseTrailers: &extprocv3.HttpTrailers{Trailers: &corev3.HeaderMap{}},
	}}
}

type stream = grpc.BidiStreamingClient[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]

func (w *world) open(t *testing.T) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), envoy.StreamRole, envoy.RoleWatch), 10*time.Second)
	t.Cleanup(cancel)
	s, err := w.client.Process(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a message and returns the answer.
func ask(t *testing.T, s stream, m *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	t.Helper()
	if err := s.Send(m); err != nil {
		t.Fatal(err)
	}
	return s.Recv()
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what + ": not within ten seconds")
		}
	}
}

// refusal reads an immediate response as an agent gets it.
func refusal(t *testing.T, r *extprocv3.ProcessingResponse) (code int, body struct {
	Code    string
	Details map[string]any
}, headers map[string]string) {
	t.Helper()
	i := r.GetImmediateResponse()
	if i == nil {
		t.Fatalf("not refused: %v", r)
	}
	if err := json.NewDecoder(bytes.NewReader(i.GetBody())).Decode(&body); err != nil {
		t.Fatal(err)
	}
	headers = map[string]string{}
	for _, h := range i.GetHeaders().GetSetHeaders() {
		headers[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	return int(i.GetStatus().GetCode()), body, headers
}

// proves: V-4
func TestAnExchangeEndsWhenItsGrantDoes(t *testing.T) {
	for name, first := range map[string]func(map[string]string) *extprocv3.ProcessingRequest{
		"heard of from the request on": requestHead,
		"from the reply on":            func(m map[string]string) *extprocv3.ProcessingRequest { return replyHead(m, false) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, watch.DefaultLimits(), false)
			s := w.open(t)
			if r, err := ask(t, s, first(said(nil))); err != nil || r.GetImmediateResponse() != nil {
				t.Fatal(r, err)
			}
			if w.Len() != 1 {
				t.Fatalf("%d are watched", w.Len())
			}
			w.lose(authz.TokenRevoked)
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			code, body, headers := refusal(t, r)
			if code != 401 || body.Code != string(ath.TokenRevoked) || body.Details["decision_id"] != "dec_1" ||
				headers[envoy.HeaderDecisionID] != "dec_1" || headers["content-type"] != "application/json" || headers["www-authenticate"] == "" {
				t.Errorf("%d %+v %v", code, body, headers)
			}
			if _, err := s.Recv(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			if w.Len() != 0 {
				t.Error("it is still watched")
			}
		})
	}
}

// Whoever ends the exchange, nothing of it stays.
func TestNothingIsWatchedThatIsOver(t *testing.T) {
	w := newWorld(t, watch.DefaultLimits(), false)
	for name, end := range map[string]func(stream, context.CancelFunc){
		"trailers":                 func(s stream, _ context.CancelFunc) { ask(t, s, trailers()) },
		"a reply without a body":   func(s stream, _ context.CancelFunc) { ask(t, s, replyHead(nil, true)) },
		"Envoy closes the stream":  func(s stream, _ context.CancelFunc) { s.CloseSend() },
		"Envoy resets it":          func(_ stream, cancel context.CancelFunc) { cancel() },
		"a message out of order":   func(s stream, _ context.CancelFunc) { s.Send(requestHead(nil)) },
		"a message without a kind": func(s stream, _ context.CancelFunc) { s.Send(&extprocv3.ProcessingRequest{}) },
	} {
		ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), envoy.StreamRole, envoy.RoleWatch))
		s, err := w.client.Process(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ask(t, s, requestHead(said(nil))); err != nil || w.Len() != 1 {
			t.Fatalf("%s: %d are watched, %v", name, w.Len(), err)
		}
		end(s, cancel)
		until(t, name, func() bool { return w.Len() == 0 })
		cancel()
	}
}

// Without a decision that allows it, or one that athd did not write, nothing goes on:
// Envoy is told to refuse, which it does also where it lets failures pass, and the
// stream ends with an error, which it does not take for consent.
// proves: V-4
func TestWithoutADecisionNothingGoesOn(t *testing.T) {
	w := newWorld(t, watch.DefaultLimits(), false)
	for name, edit := range map[string]func(map[string]string){
		"no metadata":       func(m map[string]string) { clear(m) },
		"no allow":          func(m map[string]string) { delete(m, envoy.MetaAllow) },
		"a false allow":     func(m map[string]string) { m[envoy.MetaAllow] = "false" },
		"no decision":       func(m map[string]string) { delete(m, envoy.MetaDecision) },
		"a refusal":         func(m map[string]string) { m[envoy.MetaReason] = "token_revoked" },
		"no reason":         func(m map[string]string) { delete(m, envoy.MetaReason) },
		"nothing held":      func(m map[string]string) { delete(m, envoy.MetaHeld) },
		"another version":   func(m map[string]string) { m[envoy.MetaHeld] = "2" + m[envoy.MetaHeld][1:] },
		"cut short":         func(m map[string]string) { m[envoy.MetaHeld] = m[envoy.MetaHeld][:40] },
		"of another agent":  func(m map[string]string) { m[envoy.MetaAgent] = "https://other.example/" },
		"for another scope": func(m map[string]string) { m[envoy.MetaScope] = "write" },
	} {
		s := w.open(t)
		r, err := ask(t, s, requestHead(said(edit)))
		if err != nil || r.GetImmediateResponse().GetStatus().GetCode() != http.StatusServiceUnavailable {
			t.Errorf("%s: %v, %v", name, r, err)
		}
		if r, err = s.Recv(); err == nil || errors.Is(err, io.EOF) || status.Code(err) == codes.OK {
			t.Errorf("%s: then %v, %v", name, r, err)
		}
		if w.Len() != 0 {
			t.Errorf("%s: it is watched", name)
		}
	}
}

// A person's request, and one for athd itself, hold nothing: no stream stays open for
// them.
func TestPeopleAreLetGo(t *testing.T) {
	w := newWorld(t, watch.DefaultLimits(), false)
	for _, reason := range []authz.Reason{authz.PassedThrough, authz.Companion} {
		s := w.open(t)
		r, err := ask(t, s, requestHead(said(func(m map[string]string) {
			m[envoy.MetaReason] = string(reason)
			delete(m, envoy.MetaHeld)
		})))
		if err != nil || r.GetRequestHeaders() == nil {
			t.Fatal(r, err)
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) || w.Len() != 0 {
			t.Errorf("%s: %v, %d are watched", reason, err, w.Len())
		}
	}
}

// proves: E-1
func TestTheStreamAboveTheCapIsAnswered429(t *testing.T) {
	w := newWorld(t, watch.Limits{PerGrant: 1, PerAgent: 9, Total: 9}, false)
	m := said(nil)
	one := w.open(t)
	if _, err := ask(t, one, requestHead(m)); err != nil {
		t.Fatal(err)
	}
	r, err := ask(t, w.open(t), replyHead(m, false))
	if err != nil {
		t.Fatal(err)
	}
	code, body, headers := refusal(t, r)
	if code != 429 || body.Code != string(ath.RateLimited) || headers["retry-after"] == "" || body.Details["reason"] != "too_many_streams" || body.Details["limit"] != "per_grant" {
		t.Errorf("%d %+v %v", code, body, headers)
	}
	one.CloseSend()
	until(t, "the first is over", func() bool { return w.Len() == 0 })
	if r, err := ask(t, w.open(t), requestHead(m)); err != nil || r.GetImmediateResponse() != nil {
		t.Error(r, err)
	}
}

// Where athd stops, exchanges end with an answer, or are let go by a clean end of the
// stream, after which Envoy lets them live.
func TestDrainingEndsOrLetsGo(t *testing.T) {
	for keep, ends := range map[bool]bool{false: true, true: false} {
		w := newWorld(t, watch.DefaultLimits(), keep)
		s := w.open(t)
		if _, err := ask(t, s, requestHead(said(nil))); err != nil {
			t.Fatal(err)
		}
		w.Drain(t.Context(), 0)
		r, err := s.Recv()
		switch {
		case !ends && !errors.Is(err, io.EOF):
			t.Errorf("kept: %v, %v", r, err)
		case ends && err != nil:
			t.Error(err)
		case ends:
			if code, _, headers := refusal(t, r); code != 503 || headers["retry-after"] == "" {
				t.Errorf("%d %v", code, headers)
			}
		}
	}
}
