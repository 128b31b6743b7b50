package traps

import (
	"context"
	"net"
	"net/url"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/provider"
)

// An app that speaks gRPC without TLS is called by gRPC: its statuses, which
// are trailers, arrive.
// F-18
func TestGRPCThroughToAnApp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, seen := grpc.NewServer(), make(chan grpcmetadata.MD, 1)
	h := health.NewServer()
	h.SetServingStatus("shop", healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(server, watched{h, seen})
	go server.Serve(l)
	t.Cleanup(server.Stop)

	r := newRig(t, func(r *rig, _ *bootstrap.Config) {
		r.set.Get("app").App.Upstream = &url.URL{Scheme: provider.HTTP2, Host: l.Addr().String()}
	})
	r.play(askReal)
	conn, err := grpc.NewClient(r.addr(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("gw.example"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := func(service, agent string) (*healthv1.HealthCheckResponse, error) {
		ctx := grpcmetadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token("app"), "x-ath-agent-id", agent)
		return healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: service})
	}
	if reply, err := call("shop", agentID); err != nil || reply.Status != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", reply, err)
	}
	if got := (<-seen).Get("authorization"); len(got) != 1 || got[0] != "Bearer "+userToken {
		t.Errorf("the app saw authorization %q", got)
	}
	if _, err := call("nobody", agentID); status.Code(err) != codes.NotFound {
		t.Errorf("the app's own status: %v", err)
	}
	if _, err := call("shop", agentID+"x"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a refusal: %v", err)
	}
}

type watched struct {
	*health.Server
	seen chan grpcmetadata.MD
}

func (w watched) Check(ctx context.Context, request *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	md, _ := grpcmetadata.FromIncomingContext(ctx)
	select {
	case w.seen <- md:
	default:
	}
	return w.Server.Check(ctx, request)
}
