package bench

import (
	"context"
	"log"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/test/harness/stage"
)

// Variables that make a process of this binary a no-op server, and its replies
// pass the guard of athd's configuration.
const (
	noopSocket  = "ATHD_BENCH_NOOP_SOCKET"
	noopGuarded = "ATHD_BENCH_NOOP_GUARDED"
)

// noop answers every check with one fixed allow, by the generated code.
type noop struct {
	authv3.UnimplementedAuthorizationServer
	reply *authv3.CheckResponse
}

func (n *noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return n.reply, nil
}

func serveNoop(socket string) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer(server.Transport()...)
	var metadata *structpb.Struct
	if os.Getenv(noopGuarded) != "" {
		metadata = &structpb.Struct{Fields: map[string]*structpb.Value{
			"ath_allow": structpb.NewBoolValue(true), "provider": structpb.NewStringValue("shop"),
		}}
	}
	authv3.RegisterAuthorizationServer(s, &noop{reply: &authv3.CheckResponse{
		Status: &rpcstatus.Status{}, DynamicMetadata: metadata,
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{{
				Header:       &corev3.HeaderValue{Key: "authorization", Value: "Bearer " + stage.UserToken},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
		}},
	}})
	log.Fatal(s.Serve(l))
}

// startNoop runs a no-op server and returns when it listens.
func startNoop(t testing.TB, socket, guarded string, env []string) (pid int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid = start(t, self, append([]string{noopSocket + "=" + socket, noopGuarded + "=" + guarded}, env...), os.Stderr)
	await(t, "the no-op server", func() bool {
		conn, err := net.DialTimeout("unix", socket, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return pid
}

// start runs a program until the benchmark ends.
func start(t testing.TB, path string, env []string, output *os.File, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = diesWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

func await(t testing.TB, who string, up func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !up(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not there after 20 s", who)
		}
	}
}
