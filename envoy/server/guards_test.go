package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A stream that a handler reads nothing from.
type idleStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s idleStream) Context() context.Context { return s.ctx }

func TestAPanicInAHandlerIsAnErrorWithoutItsValue(t *testing.T) {
	g := guards{logger: slog.New(slog.DiscardHandler), open: t.Context()}
	_, unary := g.unary(t.Context(), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { panic("s3cret") })
	stream := g.stream(nil, idleStream{ctx: t.Context()}, &grpc.StreamServerInfo{}, func(any, grpc.ServerStream) error { panic("s3cret") })
	for kind, err := range map[string]error{"unary": unary, "stream": stream} {
		if s := status.Convert(err); s.Code() != codes.Internal || s.Message() != "internal error" {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestHealthChecksEndWithTheServer(t *testing.T) {
	open, closed := context.WithCancel(t.Context())
	g := guards{logger: slog.New(slog.DiscardHandler), open: open}
	err := g.stream(nil, idleStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/grpc.health.v1.Health/Watch"}, func(_ any, s grpc.ServerStream) error {
		closed()
		<-s.Context().Done()
		return s.Context().Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
