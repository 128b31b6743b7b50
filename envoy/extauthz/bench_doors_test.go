package extauthz

import (
	"context"
	"io"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/envoy/server"
)

// BenchmarkDoors is one decision by gRPC on a Unix socket: by ext_authz, and by
// ext_proc with a stream for each, as Envoy has them; the client's cost is in it.
func BenchmarkDoors(b *testing.B) {
	w := newWorld(b)
	d := openDoors(b, w.decider().Decide)
	request := w.ask(func(a *authv3.AttributeContext) {
		for i := 0; i < len(usualHeaders); i += 2 {
			also(usualHeaders[i], usualHeaders[i+1])(a)
		}
	})
	said, message := processing(request)
	reply := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{}}}}
	checks, streams := authv3.NewAuthorizationClient(d.conn), extprocv3.NewExternalProcessorClient(d.conn)
	b.Run("ext_authz", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if r, err := checks.Check(b.Context(), request); err != nil || r.GetOkResponse() == nil {
				b.Fatal(r, err)
			}
		}
	})
	for name, messages := range map[string][]*extprocv3.ProcessingRequest{"ext_proc": {message}, "ext_proc and the reply": {message, reply}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := metadata.NewOutgoingContext(context.Background(), said)
			for b.Loop() {
				s, err := streams.Process(ctx)
				if err != nil {
					b.Fatal(err)
				}
				for _, m := range messages {
					if err := s.Send(m); err != nil {
						b.Fatal(err)
					}
					if r, err := s.Recv(); err != nil || r.GetImmediateResponse() != nil {
						b.Fatal(r, err)
					}
				}
				if err := s.CloseSend(); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Recv(); err == nil {
					b.Fatal("it goes on")
				}
			}
		})
	}
}

// heardStream is a stream that has one message and then ends.
type heardStream struct {
	grpc.ServerStream
	ctx     context.Context
	wire    server.Codec
	message mem.BufferSlice
	heard   bool
	reply   *extprocv3.ProcessingResponse
}

func (s *heardStream) Context() context.Context { return s.ctx }

func (s *heardStream) Recv() (*extprocv3.ProcessingRequest, error) {
	if s.heard {
		return nil, io.EOF
	}
	s.heard = true
	m := new(extprocv3.ProcessingRequest)
	return m, s.wire.Unmarshal(s.message, m)
}

func (s *heardStream) Send(r *extprocv3.ProcessingResponse) error {
	s.reply = r
	_, err := s.wire.Marshal(r)
	return err
}

// heardInProcess is what inProcess is, by ext_proc.
func heardInProcess(t testing.TB) func() {
	w := newWorld(t)
	w.events = audit.New(audit.Config{Writer: io.Discard, JSON: true, Late: time.Second})
	said, message := processing(w.ask(func(a *authv3.AttributeContext) {
		for i := 0; i < len(usualHeaders); i += 2 {
			also(usualHeaders[i], usualHeaders[i+1])(a)
		}
	}))
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	p := streamsOf(t, judgeOf(t, w.decider().Decide))
	ctx, wire := metadata.NewIncomingContext(t.Context(), said), server.NewCodec()
	return func() {
		s := &heardStream{ctx: ctx, wire: wire, message: mem.BufferSlice{mem.SliceBuffer(data)}}
		if err := p.Process(s); err != nil || s.reply.GetRequestHeaders() == nil {
			t.Fatal(err, s.reply)
		}
	}
}

// BenchmarkProcess is what BenchmarkCheck is, by ext_proc.
func BenchmarkProcess(b *testing.B) {
	process := heardInProcess(b)
	b.ReportAllocs()
	for b.Loop() {
		process()
	}
}

func TestAStreamAllocatesSome(t *testing.T) {
	if got := testing.AllocsPerRun(100, heardInProcess(t)); got > 160 {
		t.Errorf("%v allocations, want at most 160", got)
	}
}
