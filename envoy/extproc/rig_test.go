package extproc_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extproc"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/test/harness/locked"
)

// A rig is a server with some roles, as Envoy reaches it.
type rig struct {
	t      testing.TB
	server *server.Server
	client extprocv3.ExternalProcessorClient
	log    locked.Buffer
}

var quiet = slog.New(slog.DiscardHandler)

func refuseAll(_ context.Context, r authz.Request) authz.Decision { return authz.Decision{ID: r.ID} }

func judge(t testing.TB, decide func(context.Context, authz.Request) authz.Decision) *exchange.Judge {
	t.Helper()
	j, err := exchange.NewJudge(exchange.Config{Decide: decide, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func newRig(t testing.TB, roles exchange.Roles, otherwise ...string) *rig {
	t.Helper()
	r := &rig{t: t}
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	streams, err := extproc.New(extproc.Config{Roles: roles, Default: otherwise, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if r.server, err = server.New(server.Config{Services: []server.Service{streams}, Logger: log}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		r.server.Shutdown(now)
		<-served
	})
	r.client = extprocv3.NewExternalProcessorClient(conn)
	return r
}

type stream = grpc.BidiStreamingClient[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]

// open opens a stream with metadata, by key and value.
func (r *rig) open(said ...string) stream {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	r.t.Cleanup(cancel)
	s, err := r.client.Process(metadata.AppendToOutgoingContext(ctx, said...))
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func headers(pairs ...string) *extprocv3.HttpHeaders {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return &extprocv3.HttpHeaders{Headers: m}
}

func request(pairs ...string) *extprocv3.ProcessingRequest {
	pairs = append([]string{":method", "GET", ":path", "/x", envoy.HeaderAuthority, "gw.example"}, pairs...)
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers(pairs...)}}
}

func response(pairs ...string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(pairs...)}}
}

func trailers() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{Trailers: &corev3.HeaderMap{}}}}
}

// A scripted role does what a test says.
type scripted struct {
	opened func(*exchange.Stream)
	hear   func(context.Context, *exchange.Message) (exchange.Reply, error)
	closed func()
}

func (s scripted) Open(stream *exchange.Stream) exchange.Hearing {
	if s.opened != nil {
		s.opened(stream)
	}
	return s
}

func (s scripted) Hear(ctx context.Context, m *exchange.Message) (exchange.Reply, error) {
	if s.hear == nil {
		return exchange.Reply{}, nil
	}
	return s.hear(ctx, m)
}

func (s scripted) Close() {
	if s.closed != nil {
		s.closed()
	}
}
