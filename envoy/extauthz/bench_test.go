package extauthz

import (
	"context"
	"io"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/envoy/server"
)

// fromEnvoy is the context of a call of Envoy's, which has the deadline of the
// generated configuration.
type fromEnvoy struct{ context.Context }

func (fromEnvoy) Deadline() (time.Time, bool) {
	return time.Now().Add(time.Second), true
}

// usualHeaders are those of a request beside what athd judges.
var usualHeaders = []string{
	"user-agent", "shopping-agent/2.1 (linux; x86_64)", "accept", "application/json", "accept-encoding", "gzip, deflate, br",
	"accept-language", "en-US,en;q=0.9", "cache-control", "no-cache", "pragma", "no-cache", "sec-fetch-mode", "cors",
	"sec-fetch-site", "cross-site", "origin", "https://agents.example", "referer", "https://agents.example/run/7f3a",
}

// inProcess is all that a check costs but for gRPC and the store: from the
// bytes of the request, through a real decision and its event, to the bytes of
// the reply. The request has 14 headers.
func inProcess(t testing.TB, edits ...func(*authv3.AttributeContext)) func() {
	w := newWorld(t)
	if len(edits) > 0 {
		w.withRuntime("tools")
	}
	w.events = audit.New(audit.Config{Writer: io.Discard, JSON: true, Late: time.Second})
	c, wire := w.checks(), server.NewCodec()
	data, err := proto.Marshal(w.ask(func(a *authv3.AttributeContext) {
		for i := 0; i < len(usualHeaders); i += 2 {
			also(usualHeaders[i], usualHeaders[i+1])(a)
		}
		for _, edit := range edits {
			edit(a)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx := fromEnvoy{t.Context()}
	request := mem.BufferSlice{mem.SliceBuffer(data)}
	check := func() message {
		var a attributes
		if err := wire.Unmarshal(request, &a); err != nil {
			t.Fatal(err)
		}
		reply := c.check(ctx, &a)
		if _, err := wire.Marshal(reply); err != nil {
			t.Fatal(err)
		}
		return reply
	}
	if decoded(t, check()).GetOkResponse() == nil {
		t.Fatal("refused")
	}
	return func() { check() }
}

func BenchmarkCheck(b *testing.B) {
	check := inProcess(b)
	b.ReportAllocs()
	for b.Loop() {
		check()
	}
}

// BenchmarkRuntimeCheck is of a request on the route of run-time providers.
func BenchmarkRuntimeCheck(b *testing.B) {
	check := inProcess(b, onRuntimeRoute("tools"))
	b.ReportAllocs()
	for b.Loop() {
		check()
	}
}

// A check stands before every request: what it allocates, every request pays.
func TestACheckAllocatesLittle(t *testing.T) {
	for name, c := range map[string]struct {
		most  float64
		check func()
	}{
		"by a static route":                  {24, inProcess(t)},
		"by the route of run-time providers": {28, inProcess(t, onRuntimeRoute("tools"))},
	} {
		if got := testing.AllocsPerRun(100, c.check); got > c.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, c.most)
		}
	}
}
