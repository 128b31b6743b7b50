package extproc_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// replies is a role that answers each phase with what is there for it.
func replies(to map[exchange.Phase]exchange.Reply, heard chan<- *exchange.Message) scripted {
	return scripted{hear: func(_ context.Context, m *exchange.Message) (exchange.Reply, error) {
		if heard != nil {
			copied := *m
			copied.Metadata = maps.Clone(m.Metadata)
			heard <- &copied
		}
		return to[m.Phase], nil
	}}
}

func exchanged(t *testing.T, s stream, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	t.Helper()
	if err := s.Send(m); err != nil {
		t.Fatal(err)
	}
	reply, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestARoleHearsPlainDataAndChangesHeaders(t *testing.T) {
	heard := make(chan *exchange.Message, 3)
	s := newRig(t, exchange.Roles{"r": replies(map[exchange.Phase]exchange.Reply{
		exchange.ResponseHeaders: {
			Remove: []string{"set-cookie", "link"}, Set: [][2]string{{"x-note", "\xff"}}, Add: [][2]string{{"link", "a"}, {"link", "b"}},
			Metadata: []exchange.Metadatum{{Key: "k", Text: "v\xff"}, {Key: "yes", Yes: true}},
		},
		exchange.ResponseTrailers: {Remove: []string{"x-trailer"}},
	}, heard)}).open(envoy.StreamRole, "r")

	message := response(":status", "200", "Set-Cookie", "a\xff=b", "link", "x", "link", "y")
	message.GetResponseHeaders().EndOfStream = true
	text := func(key, value string) map[string]*structpb.Value {
		return map[string]*structpb.Value{key: structpb.NewStringValue(value), "yes": structpb.NewBoolValue(true), "n": structpb.NewNumberValue(401)}
	}
	message.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{envoy.MetaNamespace: {Fields: text("provider", "shop")}, "other": {Fields: text("provider", "evil")}}}
	message.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: text("request.path", "/x")}}
	reply := exchanged(t, s, message)

	m := <-heard
	if m.Phase != exchange.ResponseHeaders || !m.Last || m.Metadata["provider"] != "shop" || m.Metadata["yes"] != "true" || m.Attributes["request.path"] != "/x" || m.Attributes["n"] != "401" {
		t.Errorf("heard %+v", m)
	}
	if value, times := m.Value("link"); value != "y" || times != 2 || m.Headers[1] != (exchange.Header{Name: "set-cookie", Value: "a\xff=b"}) {
		t.Errorf("headers %q", m.Headers)
	}
	mutation := reply.GetResponseHeaders().GetResponse().GetHeaderMutation()
	var set []string
	for _, h := range mutation.GetSetHeaders() {
		set = append(set, h.GetAppendAction().String()+" "+h.GetHeader().GetKey()+" "+string(h.GetHeader().GetRawValue()))
	}
	if !slices.Equal(set, []string{"OVERWRITE_IF_EXISTS_OR_ADD x-note \xff", "APPEND_IF_EXISTS_OR_ADD link a", "APPEND_IF_EXISTS_OR_ADD link b"}) || !slices.Equal(mutation.GetRemoveHeaders(), []string{"set-cookie", "link"}) {
		t.Errorf("sets %q, removes %q", set, mutation.GetRemoveHeaders())
	}
	if said := reply.GetDynamicMetadata().AsMap(); len(said) != 1 || said[envoy.MetaNamespace].(map[string]any)["k"] != "v?" || said[envoy.MetaNamespace].(map[string]any)["yes"] != true {
		t.Errorf("says %v", said)
	}
	reply = exchanged(t, s, trailers())
	if m := <-heard; m.Phase != exchange.ResponseTrailers || !slices.Equal(reply.GetResponseTrailers().GetHeaderMutation().GetRemoveHeaders(), []string{"x-trailer"}) {
		t.Errorf("heard %+v, answered %v", m, reply)
	}
}

// A platform with one filter has all roles on it.
//
// proves: P-1
func TestRolesOnOneStreamAreAskedInTurn(t *testing.T) {
	first := exchange.Reply{Set: [][2]string{{"a", "1"}}, Remove: []string{"r1"}, Metadata: []exchange.Metadatum{{Key: envoy.MetaHeld, Text: "held"}, {Key: envoy.MetaAllow, Yes: true}}}
	second := exchange.Reply{Set: [][2]string{{"b", "2"}}, Remove: []string{"r2"}, Metadata: []exchange.Metadatum{{Key: "more", Text: "x"}}}
	heard := make(chan *exchange.Message, 2)
	var closed atomic.Int32
	count := func(s scripted) scripted {
		s.closed = func() { closed.Add(1) }
		return s
	}
	r := newRig(t, exchange.Roles{
		"first":   count(replies(map[exchange.Phase]exchange.Reply{exchange.RequestHeaders: first}, nil)),
		"second":  count(replies(map[exchange.Phase]exchange.Reply{exchange.RequestHeaders: second}, heard)),
		"refuses": count(replies(map[exchange.Phase]exchange.Reply{exchange.RequestHeaders: {Refusal: &exchange.Refusal{Status: 429, Body: "full"}}}, nil)),
	})
	s := r.open(envoy.StreamRole, "first, second")
	reply := exchanged(t, s, request())
	mutation := reply.GetRequestHeaders().GetResponse().GetHeaderMutation()
	if len(mutation.GetSetHeaders()) != 2 || !slices.Equal(mutation.GetRemoveHeaders(), []string{"r1", "r2"}) || len(reply.GetDynamicMetadata().AsMap()[envoy.MetaNamespace].(map[string]any)) != 3 {
		t.Errorf("%v", reply)
	}
	if m := <-heard; m.Metadata[envoy.MetaHeld] != "held" {
		t.Errorf("what the first said is not heard: %v", m.Metadata)
	}
	exchanged(t, s, response(":status", "200"))
	if m := <-heard; m.Metadata[envoy.MetaHeld] != "held" || m.Metadata["more"] != "x" {
		t.Errorf("in the reply it is forgotten: %v", m.Metadata)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) || closed.Load() != 2 {
		t.Errorf("%v, %d closed", err, closed.Load())
	}

	s = r.open(envoy.StreamRole, "first,refuses,second")
	reply = exchanged(t, s, request())
	if i := reply.GetImmediateResponse(); i.GetStatus().GetCode() != 429 || string(i.GetBody()) != "full" || len(heard) > 0 || len(i.GetHeaders().GetSetHeaders()) > 0 {
		t.Errorf("%v, %d heard", reply, len(heard))
	}
	if said := reply.GetDynamicMetadata().AsMap()[envoy.MetaNamespace].(map[string]any); said[envoy.MetaAllow] != nil || said[envoy.MetaHeld] != "held" {
		t.Errorf("beside a refusal: %v", said)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) || closed.Load() != 5 {
		t.Errorf("%v, %d closed", err, closed.Load())
	}
}

// On a stream of several roles, one that has nothing more to hear does not end what the
// others still have to: the reply would pass unseen.
//
// proves: P-9
func TestARoleThatIsDoneDoesNotEndTheOthers(t *testing.T) {
	opened := make(chan *exchange.Stream, 1)
	done := scripted{
		opened: func(s *exchange.Stream) { opened <- s },
		hear: func(_ context.Context, m *exchange.Message) (exchange.Reply, error) {
			if m.Phase == exchange.RequestHeaders {
				s := <-opened
				s.End(nil)
				opened <- s
			}
			return exchange.Reply{}, nil
		},
	}
	r := newRig(t, exchange.Roles{"done": done, "reply": replies(map[exchange.Phase]exchange.Reply{exchange.ResponseHeaders: {Remove: []string{"set-cookie"}}}, nil)})
	s := r.open(envoy.StreamRole, "done,reply")
	exchanged(t, s, request())
	reply := exchanged(t, s, response(":status", "200", "set-cookie", "a=b"))
	if got := reply.GetResponseHeaders().GetResponse().GetHeaderMutation().GetRemoveHeaders(); !slices.Equal(got, []string{"set-cookie"}) {
		t.Errorf("%v", reply)
	}
	(<-opened).End(exchange.End("token_revoked"))
	if _, err := s.Recv(); status.Code(err) != codes.Aborted {
		t.Errorf("what is to end the exchange does not: %v", err)
	}
}

// What a role has said on a stream of several is what the others hear, whatever stands
// in the metadata that Envoy forwards; and nobody hears before who judges.
//
// proves: P-1
func TestWhatARoleHasSaidStands(t *testing.T) {
	heard := make(chan *exchange.Message, 2)
	says := replies(map[exchange.Phase]exchange.Reply{exchange.RequestHeaders: {Metadata: []exchange.Metadatum{{Key: envoy.MetaHeld, Text: "held"}}}}, nil)
	r := newRig(t, exchange.Roles{envoy.RoleJudge: says, "second": replies(nil, heard)})
	s := r.open(envoy.StreamRole, envoy.RoleJudge+",second")
	message := func(m *extprocv3.ProcessingRequest) *extprocv3.ProcessingRequest {
		m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{envoy.MetaNamespace: {Fields: map[string]*structpb.Value{
			envoy.MetaHeld: structpb.NewStringValue("another"), "beside": structpb.NewStringValue("x"),
		}}}}
		return m
	}
	for _, m := range []*extprocv3.ProcessingRequest{message(request()), message(response(":status", "200"))} {
		exchanged(t, s, m)
		if m := <-heard; m.Metadata[envoy.MetaHeld] != "held" || m.Metadata["beside"] != "x" {
			t.Errorf("phase %d: %v", m.Phase, m.Metadata)
		}
	}
	s = r.open(envoy.StreamRole, "second,"+envoy.RoleJudge)
	if err := s.Send(request()); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.Recv(); status.Code(err) != codes.FailedPrecondition || len(heard) > 0 {
		t.Errorf("%v, %v, %d heard", reply, err, len(heard))
	}
}

// Streams that go on take no place from decisions, on the same connection too.
func TestDecisionsDoNotWaitForStreams(t *testing.T) {
	r := newRig(t, exchange.Roles{"r": scripted{}, envoy.RoleJudge: judge(t, refuseAll)})
	for range 300 { // more than the server has workers
		exchanged(t, r.open(envoy.StreamRole, "r"), request())
	}
	if reply := exchanged(t, r.open(envoy.StreamRole, envoy.RoleJudge), request()); reply.GetImmediateResponse() == nil {
		t.Errorf("%v", reply)
	}
}

// Where a filter lets failures pass, Envoy is told to answer beside the failure: also
// by one of several roles.
//
// proves: P-1
func TestAFailureOfOneOfSeveralRolesRefuses(t *testing.T) {
	fails := scripted{hear: func(context.Context, *exchange.Message) (exchange.Reply, error) {
		return exchange.Reply{Refusal: &exchange.Refusal{Status: 503, Details: "ath_unwatched"}}, errors.New("unknown")
	}}
	r := newRig(t, exchange.Roles{"first": replies(nil, nil), "fails": fails})
	for _, roles := range []string{"fails", "first,fails", "fails,first"} {
		s := r.open(envoy.StreamRole, roles)
		if reply := exchanged(t, s, request()); reply.GetImmediateResponse().GetStatus().GetCode() != 503 {
			t.Errorf("%s: %v", roles, reply)
		}
		if _, err := s.Recv(); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s: %v", roles, err)
		}
	}
}

// A role ends what is under way, in every way that there is, while Envoy says nothing.
func TestARoleEndsAnExchangeThatIsSilent(t *testing.T) {
	for name, tt := range map[string]struct {
		end  error
		code codes.Code
	}{
		"cleanly":       {nil, codes.OK},
		"with a reason": {exchange.End("token_revoked"), codes.Aborted},
		"with a status": {status.Error(codes.Unavailable, "draining"), codes.Unavailable},
		"by an answer":  {&exchange.Refusal{Status: 401, Body: "{}"}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			opened := make(chan *exchange.Stream, 1)
			s := newRig(t, exchange.Roles{"r": scripted{opened: func(s *exchange.Stream) { opened <- s }}}).open(envoy.StreamRole, "r")
			exchanged(t, s, request())
			under := <-opened
			under.End(tt.end)
			under.End(errors.New("too late"))
			reply, err := s.Recv()
			if _, refuses := errors.AsType[*exchange.Refusal](tt.end); refuses {
				if reply.GetImmediateResponse().GetStatus().GetCode() != 401 {
					t.Errorf("%v, %v", reply, err)
				}
				_, err = s.Recv()
			}
			if tt.code == codes.OK && !errors.Is(err, io.EOF) || tt.code != codes.OK && status.Code(err) != tt.code {
				t.Errorf("%v", err)
			}
		})
	}
}

// Envoy is gone, and the role hears of it.
func TestARoleIsClosedWhenEnvoyIsGone(t *testing.T) {
	closed := make(chan struct{})
	r := newRig(t, exchange.Roles{"r": scripted{closed: func() { close(closed) }}})
	ctx, gone := context.WithCancel(t.Context())
	s, err := r.client.Process(metadata.AppendToOutgoingContext(ctx, envoy.StreamRole, "r"))
	if err != nil {
		t.Fatal(err)
	}
	exchanged(t, s, request())
	gone()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("it was not")
	}
}
