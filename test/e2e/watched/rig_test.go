// Package watched has what the generated configuration relies on where athd hears of
// exchanges by ext_proc: which ones Envoy tells it of, and what Envoy does when athd
// ends one, or is gone. In athd's place is a processor that a test moves by hand.
package watched

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/processor"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/streams"
)

// A rig is a real Envoy between an API of long exchanges and the processor.
type rig struct {
	t         *testing.T
	envoy     *realenvoy.Envoy
	api       *streams.API
	processor *processor.Server
	config    string
	caller    streams.Caller

	mu       sync.Mutex
	unheld   bool // decisions say nothing of what is held, as those about people
	decided  int
	hearings []*hearing
}

// A hearing is a stream of the role watch.
type hearing struct {
	heard []processor.Part
	said  map[string]string // the decision's metadata, as it arrived
	end   chan end
}

// patience is after what time something does not happen, however busy the machine is.
const patience = 30 * time.Second

// An end is what the processor does to a stream.
type end int

const (
	refusal end = iota // an answer in place of the API's
	failure            // an error of gRPC
	clean              // no error
)

func newRig(t *testing.T, change ...func(*bootstrap.Config)) *rig {
	t.Helper()
	authority := realenvoy.NewAuthority(t)
	r := &rig{t: t, processor: processor.Start(t), api: streams.StartAPI(t, authority.Certificate("127.0.0.1"))}
	c := bootstrap.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: []string{r.processor.Addr}, Companion: []string{r.api.Addr},
		PublicURL: "http://localhost:8080", ByExtProc: true, WatchesStreams: true,
		Providers: envoyconfig.Set(t,
			envoyconfig.AppProvider(t, "one", "http://"+r.api.Addr, "", streams.HostHTTP1),
			envoyconfig.AppProvider(t, "two", "h2c://"+r.api.Addr, "", streams.HostHTTP2)),
	}
	for _, f := range change {
		f(&c)
	}
	r.config = string(envoyconfig.Generate(t, c))
	r.processor.Play(r.play)
	r.start(r.config)
	return r
}

func kept(c *bootstrap.Config) { c.KeepsStreams = true }

func (r *rig) start(config string) {
	r.t.Helper()
	r.envoy = realenvoy.Start(r.t, []byte(config))
	r.caller = streams.Caller{Envoy: r.envoy.Addr("public"), Agent: "https://agent.example/a.json", Token: ath.NewToken(ath.NewTag()).Secret().Reveal()}
}

// play is what the processor does: it allows, and hears until the test ends a hearing.
func (r *rig) play(s *processor.Stream) error {
	if strings.Join(s.Metadata.Get(envoy.StreamRole), ",") == envoy.RoleJudge {
		return processor.Honest(r.allow)(s)
	}
	h := &hearing{end: make(chan end, 1)}
	messages, over := make(chan *extprocv3.ProcessingRequest), make(chan struct{})
	go func() {
		defer close(over)
		for {
			q, err := s.Recv()
			if err != nil {
				return
			}
			select {
			case messages <- q:
			case <-s.Context().Done():
				return
			}
		}
	}()
	for {
		select {
		case <-over:
			return nil
		case q := <-messages:
			r.mu.Lock()
			if h.heard = append(h.heard, processor.PartOf(q)); len(h.heard) == 1 {
				h.said = map[string]string{}
				for key, value := range q.GetMetadataContext().GetFilterMetadata()[envoy.MetaNamespace].GetFields() {
					h.said[key] = value.GetStringValue()
				}
				r.hearings = append(r.hearings, h)
			}
			r.mu.Unlock()
			if err := s.Send(goOn(q)); err != nil {
				return err
			}
		case how := <-h.end:
			switch how {
			case failure:
				return status.Error(codes.Aborted, "ended")
			case refusal:
				return s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
					Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized}, Body: []byte(`{"code":"TOKEN_REVOKED"}`), Details: "ath_ended",
				}}})
			}
			return nil
		}
	}
}

func goOn(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	switch processor.PartOf(q) {
	case processor.RequestHead:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}}
	case processor.ReplyHead:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}
}

// allow is athd's decision.
func (r *rig) allow(md metadata.MD, q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decided++
	said := map[string]any{envoy.MetaAllow: true, envoy.MetaProvider: strings.Join(md[envoy.StreamProvider], ","), envoy.MetaDecision: "dec_watched"}
	if !r.unheld {
		said[envoy.MetaHeld] = "what is held"
	}
	all, err := structpb.NewStruct(map[string]any{envoy.MetaNamespace: said})
	if err != nil {
		panic(err) // a test's own mistake
	}
	answer := goOn(q)
	answer.DynamicMetadata = all
	return answer
}

// take returns the hearings since the last call, once there are so many.
func (r *rig) take(n int) []*hearing {
	r.t.Helper()
	r.until("athd hears of it", func() bool { return len(r.hearings) >= n })
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.hearings
	r.hearings = nil
	return out
}

func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		r.mu.Lock()
		yes := is()
		r.mu.Unlock()
		if yes {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// open opens an exchange.
func (r *rig) open(t *testing.T, k streams.Kind) *streams.Stream {
	t.Helper()
	s, err := k.Open(t.Context(), r.api, r.caller)
	if err != nil {
		t.Fatalf("%s: %v", k.Name, err)
	}
	t.Cleanup(s.Close)
	return s
}

// ends waits until a stream has ended, as its client sees it.
func ends(t *testing.T, s *streams.Stream) streams.End {
	t.Helper()
	end, ok := s.Wait(time.Now().Add(patience))
	if !ok {
		t.Fatalf("%s goes on", s.Kind)
	}
	return end
}

// goesOn waits until a stream that sends has sent more, and wants it not to have ended.
func goesOn(t *testing.T, s *streams.Stream, late bool) {
	t.Helper()
	since := time.Now()
	for !late && s.Last().Before(since) {
		if time.Since(since) > patience {
			t.Fatalf("%s has stopped", s.Kind)
		}
		time.Sleep(2 * time.Millisecond)
	}
	if end, ok := s.Wait(time.Now().Add(100 * time.Millisecond)); ok {
		t.Errorf("%s ended: %s", s.Kind, end)
	}
}

// short makes a short call and returns its status and the message of a refusal.
func (r *rig) short(method, path string, body io.Reader, length int64) (int, string) {
	r.t.Helper()
	return r.shortBy(http.DefaultClient, method, path, body, length)
}

func (r *rig) shortBy(client *http.Client, method, path string, body io.Reader, length int64) (int, string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, "http://"+r.caller.Envoy+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Host, q.ContentLength = streams.HostHTTP1, length
	q.Header.Set("Authorization", "Bearer "+r.caller.Token)
	q.Header.Set("Accept", "application/json, text/event-stream")
	if body != nil {
		q.Header.Set("Content-Type", "text/plain") // which Envoy wants of a QUERY
	}
	reply, err := client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reply.Body.Close()
	var e struct{ Message string }
	text, err := io.ReadAll(io.LimitReader(reply.Body, 1<<10))
	if err != nil {
		r.t.Fatal(err)
	}
	json.Unmarshal(text, &e)
	return reply.StatusCode, e.Message
}
