package streams

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// call opens a gRPC stream on a connection of its own.
func call(bothWays bool) func(context.Context, Kind, *API, Caller, string) (*Stream, error) {
	return func(ctx context.Context, k Kind, _ *API, c Caller, id string) (*Stream, error) {
		conn, err := grpc.NewClient("passthrough:///"+c.Envoy, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(k.Host))
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx,
			"authorization", "Bearer "+c.Token, "x-ath-agent-id", c.Agent, idHeader, id))
		s := newStream(k.Name, cancel)
		late := time.AfterFunc(patience, cancel)
		var in grpc.ClientStream
		if client := testgrpc.NewTestServiceClient(conn); bothWays {
			var both grpc.BidiStreamingClient[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]
			if both, err = client.FullDuplexCall(ctx); err == nil {
				in = both
				go func() {
					tick := time.NewTicker(pace)
					defer tick.Stop()
					for both.Send(&testgrpc.StreamingOutputCallRequest{}) == nil {
						select {
						case <-ctx.Done():
							return
						case <-tick.C:
						}
					}
				}()
			}
		} else {
			in, err = client.StreamingOutputCall(ctx, &testgrpc.StreamingOutputCallRequest{})
		}
		if err == nil {
			err = in.RecvMsg(new(testgrpc.StreamingOutputCallResponse))
		}
		if !late.Stop() && err == nil {
			err = context.DeadlineExceeded
		}
		if err != nil {
			cancel()
			conn.Close()
			return nil, refusedCall(err)
		}
		go func() {
			defer conn.Close()
			for {
				if err := in.RecvMsg(new(testgrpc.StreamingOutputCallResponse)); err != nil {
					s.finish(howCall(err))
					return
				}
				s.touch()
			}
		}()
		return s, nil
	}
}

// refusedCall is an answer of athd's in gRPC's words, where Envoy wrote the JSON
// into the status.
func refusedCall(err error) error {
	if st, ok := status.FromError(err); ok {
		return &RefusedError{Status: httpStatus[st.Code().String()], Header: http.Header{}, Body: st.Message()}
	}
	return err
}

// httpStatus is of the codes that Envoy writes for a status.
var httpStatus = map[string]int{
	"Unauthenticated": http.StatusUnauthorized, "PermissionDenied": http.StatusForbidden,
	"Unavailable": http.StatusServiceUnavailable, "ResourceExhausted": http.StatusTooManyRequests,
}

func howCall(err error) string {
	st, ok := status.FromError(err)
	if !ok {
		return how(err)
	}
	return "gRPC " + st.Code().String()
}
