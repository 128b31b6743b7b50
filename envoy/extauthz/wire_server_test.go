package extauthz

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy/server"
)

// rawCodec sends and receives messages as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// What is no check is an error of the call, which Envoy refuses, and the
// server goes on.
func TestWhatIsNoCheckIsAnError(t *testing.T) {
	asked := 0
	checks := checksOf(t, func(_ context.Context, r authz.Request) authz.Decision {
		asked++
		return authz.Decision{ID: r.ID}
	})
	s, err := server.New(server.Config{Services: []server.Service{checks}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(now)
		<-served
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ask := func(message []byte) (reply []byte, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err = conn.Invoke(ctx, authv3.Authorization_Check_FullMethodName, message, &reply)
		return reply, err
	}
	for _, message := range [][]byte{{0xff}, {0x0a, 0x7f}, []byte("\x0a\x04\x22\x02\x12\x7f"), []byte("not a message")} {
		if reply, err := ask(message); status.Code(err) != codes.Internal || reply != nil {
			t.Errorf("%q: %v, %q", message, err, reply)
		}
	}
	if asked != 0 {
		t.Errorf("%d of them were judged", asked)
	}
	good, err := proto.Marshal(newWorld(t).ask())
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := ask(good); err != nil || len(reply) == 0 || asked != 1 {
		t.Errorf("after them, a check: %v, %d bytes, asked %d times", err, len(reply), asked)
	}
}

func TestAPanicOfTheScanIsAnError(t *testing.T) {
	message, err := proto.Marshal(newWorld(t).ask())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(message)}, (*attributes)(nil)); err == nil {
		t.Error("a check was read into nothing")
	}
}
