package extproc_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extproc"
)

// FuzzProcess: whatever two messages arrive, on whatever stream, a judge that allows
// nothing lets nothing through: the stream ends with an error, or with a refusal.
func FuzzProcess(f *testing.F) {
	seed := func(role string, messages ...*extprocv3.ProcessingRequest) {
		var wire [2][]byte
		for i, m := range messages {
			data, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			wire[i] = data
		}
		f.Add(role, "shop", "/ath/proxy/shop/", "true", wire[0], wire[1])
	}
	seed("judge", request(), request())
	seed("judge,reply", request("authorization", "Bearer ath_tk_x", "cookie", "a=b"), response(":status", "200"))
	seed("reply", response(":status", "200"), trailers())
	seed("", &extprocv3.ProcessingRequest{}, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte("x")}}})
	p, err := extproc.New(extproc.Config{Roles: exchange.Roles{envoy.RoleJudge: judge(f, refuseAll), envoy.RoleReply: scripted{}}, Default: []string{envoy.RoleJudge}, Logger: quiet})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, role, provider, mount, runtime string, first, second []byte) {
		ctx, cancel := context.WithCancel(metadata.NewIncomingContext(t.Context(), metadata.Pairs(
			envoy.StreamRole, role, envoy.StreamProvider, provider, envoy.StreamMount, mount, envoy.StreamRuntime, runtime)))
		defer cancel()
		s := newTalk(ctx)
		s.ends = true
		for _, data := range [][]byte{first, second} {
			m := &extprocv3.ProcessingRequest{}
			if proto.Unmarshal(data, m) != nil {
				return
			}
			s.said <- m
		}
		err := p.Process(s)
		if roles := strings.Split(strings.ReplaceAll(role, " ", ""), ","); role != "" && !slices.Contains(roles, envoy.RoleJudge) {
			return // nobody judges here
		}
		for _, reply := range s.sent {
			i := reply.GetImmediateResponse()
			if i == nil || i.GetStatus().GetCode() < 400 || reply.GetDynamicMetadata().GetFields()[envoy.MetaNamespace].GetStructValue().GetFields()[envoy.MetaAllow] != nil {
				t.Fatalf("answered %v", reply)
			}
		}
		if err == nil && len(s.sent) == 0 {
			t.Fatal("a clean end without a refusal")
		}
	})
}
