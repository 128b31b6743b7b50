package extproc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extproc"
	"github.com/athd/athd/envoy/server"
)

// Envoy takes a clean end for consent. Whatever is sent instead of one head of a
// request, a stream that judges ends with an error; and with an answer that refuses
// before it, where there is a message to answer: else a filter that lets failures pass
// would let the request go on.
//
// proves: P-1, P-3
func TestAStreamNeverEndsCleanlyBeforeTheRequestIsJudged(t *testing.T) {
	roles := exchange.Roles{
		envoy.RoleJudge:  judge(t, refuseAll),
		envoy.RoleRetry:  scripted{},
		"panics at once": scripted{opened: func(*exchange.Stream) { panic("s3cret") }},
		"fails": scripted{hear: func(context.Context, *exchange.Message) (exchange.Reply, error) {
			return exchange.Reply{}, errors.New("a cause for the log")
		}},
		"ends": scripted{opened: func(s *exchange.Stream) { s.End(nil) }}, "refuses": scripted{opened: func(s *exchange.Stream) { s.End(&exchange.Refusal{Status: 429}) }},
	}
	r := newRig(t, roles, envoy.RoleJudge)
	undefined := newRig(t, roles)
	type messages = []*extprocv3.ProcessingRequest
	observing, texts, huge := request(), request(), request("x-note", strings.Repeat("x", 2<<20))
	observing.ObservabilityMode = true
	texts.GetRequestHeaders().Headers.Headers[1].Value = "/x"
	for _, tt := range []struct {
		name    string
		rig     *rig
		said    []string
		send    messages
		refused int // status of the answer; 0: there is none
		code    codes.Code
	}{
		{"nothing", r, nil, nil, 0, codes.FailedPrecondition},
		{"a message without content", r, nil, messages{{}}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"a head without headers", r, nil, messages{{Request: &extprocv3.ProcessingRequest_RequestHeaders{}}}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"a head whose headers are missing", r, nil, messages{{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{}}}}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"headers as text", r, nil, messages{texts}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"a filter that obeys nothing", r, nil, messages{observing}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"the reply's head first", r, nil, messages{response(":status", "200")}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"the reply's trailers first", r, nil, messages{trailers()}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"a body", r, nil, messages{{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte("x")}}}}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"a reply's body", r, nil, messages{{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte("x")}}}}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"the request's trailers", r, nil, messages{{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{Trailers: &corev3.HeaderMap{}}}}}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"too large a head", r, nil, messages{huge}, 0, codes.ResourceExhausted},
		{"a role that athd does not have", r, []string{envoy.StreamRole, "admin"}, messages{request()}, 0, codes.FailedPrecondition},
		{"a role that athd does not have, behind one that it has", r, []string{envoy.StreamRole, "judge,admin"}, messages{request()}, 0, codes.FailedPrecondition},
		{"a role that is said twice", r, []string{envoy.StreamRole, "judge,fails,fails"}, messages{request()}, 0, codes.FailedPrecondition},
		{"a judge behind another", r, []string{envoy.StreamRole, "fails,judge"}, messages{request()}, 0, codes.FailedPrecondition},
		{"a second try's token beside a judge", r, []string{envoy.StreamRole, "judge,retry"}, messages{request()}, 0, codes.FailedPrecondition},
		{"a second try's token beside another", r, []string{envoy.StreamRole, "retry,fails"}, messages{request()}, 0, codes.FailedPrecondition},
		{"no role behind a comma", r, []string{envoy.StreamRole, "judge,"}, messages{request()}, 0, codes.FailedPrecondition},
		{"two roles that say so apart", r, []string{envoy.StreamRole, "judge", envoy.StreamRole, "judge"}, messages{request()}, 0, codes.FailedPrecondition},
		{"no role, where none is meant", undefined, nil, messages{request()}, 0, codes.FailedPrecondition},
		{"two providers", r, []string{envoy.StreamProvider, "a", envoy.StreamProvider, "b"}, messages{request()}, 0, codes.FailedPrecondition},
		{"two mounts", r, []string{envoy.StreamMount, "/a/", envoy.StreamMount, "/b/"}, messages{request()}, 0, codes.FailedPrecondition},
		{"run time, said twice", r, []string{envoy.StreamRuntime, "false", envoy.StreamRuntime, "true"}, messages{request()}, 0, codes.FailedPrecondition},
		{"a role that panics at once", r, []string{envoy.StreamRole, "panics at once"}, messages{request()}, 0, codes.FailedPrecondition},
		{"a role that fails", r, []string{envoy.StreamRole, "fails"}, messages{request()}, http.StatusServiceUnavailable, codes.FailedPrecondition},
		{"a role that ends the stream at once", r, []string{envoy.StreamRole, "ends"}, nil, 0, codes.FailedPrecondition},
		{"a role that refuses before there is a request", r, []string{envoy.StreamRole, "refuses"}, nil, 0, codes.FailedPrecondition},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.rig.open(tt.said...)
			for _, m := range tt.send {
				if err := s.Send(m); err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			reply, err := s.Recv()
			if err == nil {
				if int(reply.GetImmediateResponse().GetStatus().GetCode()) != tt.refused || len(reply.GetImmediateResponse().GetBody()) > 0 {
					t.Errorf("reply %v, want %d", reply, tt.refused)
				}
				reply, err = s.Recv()
			} else if tt.refused != 0 {
				t.Errorf("no answer: %v", err)
			}
			if status.Code(err) != tt.code || reply != nil {
				t.Errorf("%v, reply %v; want %v", err, reply, tt.code)
			}
			if strings.Contains(status.Convert(err).Message(), "cause") || strings.Contains(status.Convert(err).Message()+tt.rig.log.String(), "s3cret") {
				t.Errorf("it tells why, or what a panic held: %v; log %s", err, tt.rig.log.String())
			}
		})
	}
	// It goes on.
	s := r.open()
	if err := s.Send(request()); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.Recv(); err != nil || reply.GetImmediateResponse().GetStatus().GetCode() != 500 {
		t.Errorf("after them: %v, %v", reply, err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("a refusal is the last word: %v", err)
	}
}

// Where a filter lets failures pass, only an answer refuses.
//
// proves: P-1
func TestARoleThatPanicsRefuses(t *testing.T) {
	r := newRig(t, exchange.Roles{"panics": scripted{hear: func(context.Context, *exchange.Message) (exchange.Reply, error) { panic("s3cret") }}})
	s := r.open(envoy.StreamRole, "panics")
	if err := s.Send(request()); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.Recv(); err != nil || reply.GetImmediateResponse().GetStatus().GetCode() != http.StatusServiceUnavailable {
		t.Errorf("%v, %v", reply, err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.Internal || strings.Contains(err.Error()+r.log.String(), "s3cret") {
		t.Errorf("%v; log %s", err, r.log.String())
	}
}

// One stream asks once.
//
// proves: P-7
func TestMessagesComeOnceAndInOrder(t *testing.T) {
	for name, second := range map[string][]*extprocv3.ProcessingRequest{
		"a second request":            {request(), request()},
		"a request behind the reply":  {request(), response(":status", "200"), request()},
		"a second reply":              {request(), response(":status", "200"), response(":status", "200")},
		"a reply behind its trailers": {request(), trailers(), response(":status", "200")},
		"a body behind the request":   {request(), {Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{}}}},
		"nothing behind the request":  {request(), {}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRig(t, exchange.Roles{"r": scripted{}}, "r").open()
			for i, m := range second {
				if err := s.Send(m); err != nil {
					t.Fatal(err)
				}
				reply, err := s.Recv()
				last := i == len(second)-1
				if err != nil || reply.GetResponse() == nil || last && reply.GetImmediateResponse().GetStatus().GetCode() != http.StatusServiceUnavailable {
					t.Fatalf("message %d: %v, %v", i, reply, err)
				}
				if !last {
					continue
				}
				if reply, err = s.Recv(); status.Code(err) != codes.FailedPrecondition {
					t.Fatalf("behind the refusal: %v, %v", reply, err)
				}
			}
		})
	}
}

// A hostile host is judged as none.
//
// proves: P-7
func TestTwoHostsAreNone(t *testing.T) {
	var asked authz.Request
	s := newRig(t, exchange.Roles{envoy.RoleJudge: judge(t, func(_ context.Context, r authz.Request) authz.Decision {
		asked = r
		return authz.Decision{ID: r.ID}
	})}, envoy.RoleJudge).open()
	if err := s.Send(request(envoy.HeaderAuthority, "evil.example")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil || asked.Path != "" {
		t.Errorf("%v; judged as %q", err, asked.Path)
	}
}

// A talk is a stream without a connection.
type talk struct {
	grpc.ServerStream
	ctx  context.Context
	said chan *extprocv3.ProcessingRequest
	sent []*extprocv3.ProcessingResponse
	ends bool // when there is nothing to say any more
}

// newTalk returns a talk, which is over with ctx.
func newTalk(ctx context.Context) *talk {
	ctx, cancel := context.WithCancel(ctx)
	return &talk{
		ctx:  grpc.NewContextWithServerTransportStream(ctx, under{cancel: cancel}),
		said: make(chan *extprocv3.ProcessingRequest, 2),
	}
}

func (s *talk) Context() context.Context { return s.ctx }

// RecvMsg is Recv for a message that reads itself.
func (s *talk) RecvMsg(to any) error {
	m, err := s.Recv()
	if err != nil {
		return err
	}
	text, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return to.(server.Decoder).Decode(text)
}

// under is what gRPC has under a stream.
type under struct {
	grpc.ServerTransportStream
	cancel context.CancelFunc
}

func (u under) WriteStatus(*status.Status) error {
	u.cancel()
	return nil
}

func (s *talk) Send(m *extprocv3.ProcessingResponse) error {
	s.sent = append(s.sent, m)
	return nil
}

func (s *talk) Recv() (*extprocv3.ProcessingRequest, error) {
	if s.ends && len(s.said) == 0 {
		return nil, io.EOF
	}
	select {
	case m := <-s.said:
		return m, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// Nothing hangs: not a stream that says nothing, nor a role that has no answer.
func TestStreamsHaveADeadline(t *testing.T) {
	waits := scripted{hear: func(ctx context.Context, _ *exchange.Message) (exchange.Reply, error) {
		<-ctx.Done()
		return exchange.Reply{}, ctx.Err()
	}}
	for name, messages := range map[string]int{"a stream that says nothing": 0, "a role that has no answer": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := extproc.New(extproc.Config{Roles: exchange.Roles{"waits": waits}, Default: []string{"waits"}, Logger: quiet})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				s := newTalk(ctx)
				for range messages {
					s.said <- request()
				}
				start := time.Now()
				err = p.Process(s)
				cancel()
				if took := time.Since(start); status.Code(err) != codes.DeadlineExceeded || took != 5*time.Second || len(s.sent) != messages {
					t.Errorf("%v after %v, sent %v", err, took, s.sent)
				}
				for _, m := range s.sent {
					if m.GetImmediateResponse().GetStatus().GetCode() != http.StatusServiceUnavailable {
						t.Errorf("sent %v", m)
					}
				}
			})
		})
	}
}

// A stream that was answered may be silent for as long as the exchange lasts.
func TestAnExchangeMayLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := make(chan *exchange.Stream, 1)
		p, err := extproc.New(extproc.Config{Roles: exchange.Roles{"r": scripted{opened: func(s *exchange.Stream) { stream <- s }}}, Default: []string{"r"}, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := newTalk(ctx)
		s.said <- request()
		time.AfterFunc(time.Hour, func() { (<-stream).End(exchange.End("token_revoked")) })
		start := time.Now()
		err = p.Process(s)
		if took := time.Since(start); status.Code(err) != codes.Aborted || status.Convert(err).Message() != "token_revoked" || took != time.Hour || len(s.sent) != 1 {
			t.Errorf("%v after %v, sent %v", err, took, s.sent)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]extproc.Config{
		"no logger":               {Roles: exchange.Roles{"r": scripted{}}},
		"a default without roles": {Default: []string{"r"}, Logger: quiet},
		"an unknown default":      {Roles: exchange.Roles{"r": scripted{}}, Default: []string{"r", "x"}, Logger: quiet},
	} {
		if _, err := extproc.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
