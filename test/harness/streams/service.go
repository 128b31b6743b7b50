package streams

import (
	"context"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

// service is the API's gRPC.
type service struct {
	testgrpc.UnimplementedTestServiceServer
	api *API
}

func (s *service) begin(ctx context.Context) (end func()) {
	md, _ := metadata.FromIncomingContext(ctx)
	id := ""
	if all := md.Get(idHeader); len(all) == 1 {
		id = all[0]
	}
	return s.api.begin(id)
}

// StreamingOutputCall sends replies until the caller leaves.
func (s *service) StreamingOutputCall(_ *testgrpc.StreamingOutputCallRequest, out grpc.ServerStreamingServer[testgrpc.StreamingOutputCallResponse]) error {
	defer s.begin(out.Context())()
	return replies(out.Context(), out.Send)
}

// FullDuplexCall does so too, and reads what the caller sends.
func (s *service) FullDuplexCall(both grpc.BidiStreamingServer[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) error {
	defer s.begin(both.Context())()
	go func() {
		for {
			if _, err := both.Recv(); err != nil {
				return
			}
		}
	}()
	return replies(both.Context(), both.Send)
}

func replies(ctx context.Context, send func(*testgrpc.StreamingOutputCallResponse) error) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		if err := send(&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: []byte("tick")}}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
