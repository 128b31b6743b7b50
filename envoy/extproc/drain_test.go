package extproc_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extproc"
	"github.com/athd/athd/envoy/server"
)

// Envoy is told first to go elsewhere, on each connection, and then its streams end: one
// that it opens because of that must not come here.
func TestEnvoyIsToldToGoAwayBeforeItsStreamsEnd(t *testing.T) {
	opened := make(chan *exchange.Stream, 1)
	log := slog.New(slog.DiscardHandler)
	streams, err := extproc.New(extproc.Config{Roles: exchange.Roles{"r": scripted{opened: func(s *exchange.Stream) { opened <- s }}}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	var away, drained atomic.Bool
	var under *exchange.Stream
	s, err := server.New(server.Config{Services: []server.Service{streams}, Logger: log, Drain: func(context.Context) {
		drained.Store(true)
		if !away.Load() {
			t.Error("streams are ended before Envoy was told")
		}
		under.End(status.Error(codes.Unavailable, "draining"))
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(func(ctx context.Context, at string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", at)
		if err != nil {
			return nil, err
		}
		frames, sink := io.Pipe()
		go func() {
			for f := http2.NewFramer(io.Discard, frames); ; {
				frame, err := f.ReadFrame()
				if err != nil {
					_, _ = io.Copy(io.Discard, frames)
					return
				}
				if _, ok := frame.(*http2.GoAwayFrame); ok {
					away.Store(true)
				}
			}
		}()
		return seen{c, io.TeeReader(c, sink)}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	talk, err := extprocv3.NewExternalProcessorClient(conn).Process(metadata.AppendToOutgoingContext(t.Context(), envoy.StreamRole, "r"))
	if err != nil {
		t.Fatal(err)
	}
	exchanged(t, talk, request())
	under = <-opened
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s.Shutdown(ctx)
	if !drained.Load() || ctx.Err() != nil {
		t.Errorf("drained %v, %v", drained.Load(), ctx.Err())
	}
	if _, err := talk.Recv(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "draining" {
		t.Errorf("the stream ends with %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

type seen struct {
	net.Conn
	read io.Reader
}

func (s seen) Read(p []byte) (int, error) { return s.read.Read(p) }
