package processor

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// A Fault is one way to end or spoil a stream, in place of an answer or behind it.
// Do is given the right answer, which it may change; what it returns ends the stream.
type Fault struct {
	Name string
	Kind string // what faults of one table's part have in common
	// Right says that the right answer is among what is sent, and nothing that
	// stands in its way: Envoy may go on as if nothing were wrong.
	Right bool
	// Silent says that Envoy hears nothing until its time is over.
	Silent bool
	// Spoken says that an agent is answered in place of the API, with these words.
	Spoken bool
	Do     func(s *Stream, right *extprocv3.ProcessingResponse) error
}

// says is a fault that sends other messages than the right one, and leaves the
// stream open.
func says(name string, messages ...*extprocv3.ProcessingResponse) Fault {
	return Fault{Name: name, Do: func(s *Stream, _ *extprocv3.ProcessingResponse) error {
		for _, m := range messages {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		return s.Hold()
	}}
}

// spoils is a fault that changes the right answer.
func spoils(name string, change func(*extprocv3.ProcessingResponse)) Fault {
	return Fault{Name: name, Do: func(s *Stream, right *extprocv3.ProcessingResponse) error {
		right = proto.Clone(right).(*extprocv3.ProcessingResponse)
		change(right)
		if err := s.Send(right); err != nil {
			return err
		}
		return s.Hold()
	}}
}

// besides is a fault that changes what Envoy has to overlook.
func besides(name string, change func(*extprocv3.ProcessingResponse)) Fault {
	f := spoils(name, change)
	f.Right = true
	return f
}

// Faults are all ways to end or spoil a stream by messages and status.
func Faults() []Fault {
	var out []Fault
	for _, part := range []struct {
		kind string
		list []Fault
	}{
		{"The stream ends", ends()}, {"Silence", silences()}, {"Another answer", wrongAnswers()}, {"An answer that asks for more", overrides()},
		{"An answer that changes what it may not", mutations()}, {"Metadata that does not say yes", metadatas()},
		{"A reply in place of the API's", immediates()}, {"No message", unreadable()},
	} {
		for _, f := range part.list {
			f.Kind = part.kind
			out = append(out, f)
		}
	}
	return out
}

// ends are streams that are over.
func ends() []Fault {
	out := []Fault{{Name: "a clean end", Do: func(*Stream, *extprocv3.ProcessingResponse) error { return nil }}}
	names := []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		out = append(out, Fault{Name: "status " + names[c], Do: func(*Stream, *extprocv3.ProcessingResponse) error {
			return status.Error(c, "spoiled")
		}})
	}
	return append(out, Fault{Name: "a status that no list has", Do: func(*Stream, *extprocv3.ProcessingResponse) error {
		return status.Error(codes.Code(99), "spoiled")
	}})
}

func silences() []Fault {
	return []Fault{
		{Name: "silence", Silent: true, Do: func(s *Stream, _ *extprocv3.ProcessingResponse) error { return s.Hold() }},
		{Name: "silence, and more time is asked for", Silent: true, Do: func(s *Stream, _ *extprocv3.ProcessingResponse) error {
			if err := s.Send(&extprocv3.ProcessingResponse{OverrideMessageTimeout: durationpb.New(time.Hour)}); err != nil {
				return err
			}
			return s.Hold()
		}},
	}
}

func headers(common *extprocv3.CommonResponse) *extprocv3.HeadersResponse {
	return &extprocv3.HeadersResponse{Response: common}
}

// wrongAnswers are those of another kind, for another part, or too many.
func wrongAnswers() []Fault {
	body := &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{}}
	extra := func(name string, m *extprocv3.ProcessingResponse) Fault {
		return Fault{Name: name, Right: true, Do: func(s *Stream, right *extprocv3.ProcessingResponse) error {
			for _, one := range []*extprocv3.ProcessingResponse{right, m} {
				if one == nil {
					one = right
				}
				if err := s.Send(one); err != nil {
					return err
				}
			}
			return s.Hold()
		}}
	}
	ofRequestBody := &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: body}}
	return []Fault{
		says("an answer without a word", &extprocv3.ProcessingResponse{}),
		says("a HeadersResponse that is nil", &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{}}),
		says("a CommonResponse that is nil", &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: headers(nil)}}),
		says("a CommonResponse that says CONTINUE only", &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: headers(&extprocv3.CommonResponse{})}}),
		says("an answer about the reply's head", &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: headers(&extprocv3.CommonResponse{})}}),
		says("an answer about a request body", ofRequestBody),
		says("an answer about a reply body", &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: body}}),
		says("an answer about request trailers", &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}),
		says("an answer about reply trailers", &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}),
		extra("two answers", nil),
		extra("an answer, and one about a body", ofRequestBody),
		extra("an answer, and one without a word", &extprocv3.ProcessingResponse{}),
		extra("an answer, and a refusal behind it", immediate(403)),
	}
}

// overrides are answers that change how the rest is asked about.
func overrides() []Fault {
	mode := func(m *modev3.ProcessingMode) func(*extprocv3.ProcessingResponse) {
		return func(r *extprocv3.ProcessingResponse) { r.ModeOverride = m }
	}
	return []Fault{
		besides("a mode override that asks for nothing more", mode(&modev3.ProcessingMode{
			RequestHeaderMode: modev3.ProcessingMode_SKIP, ResponseHeaderMode: modev3.ProcessingMode_SKIP,
			RequestTrailerMode: modev3.ProcessingMode_SKIP, ResponseTrailerMode: modev3.ProcessingMode_SKIP,
		})),
		besides("a mode override that asks for bodies", mode(&modev3.ProcessingMode{
			RequestBodyMode: modev3.ProcessingMode_BUFFERED, ResponseBodyMode: modev3.ProcessingMode_FULL_DUPLEX_STREAMED, ResponseTrailerMode: modev3.ProcessingMode_SEND,
		})),
		besides("a mode override of a mode that is not known", mode(&modev3.ProcessingMode{RequestBodyMode: 99, ResponseHeaderMode: 99})),
		says("a mode override alone", &extprocv3.ProcessingResponse{ModeOverride: &modev3.ProcessingMode{
			RequestBodyMode: modev3.ProcessingMode_FULL_DUPLEX_STREAMED, RequestTrailerMode: modev3.ProcessingMode_SEND,
		}}),
		besides("clear_route_cache", func(r *extprocv3.ProcessingResponse) {
			if c := commonOf(r); c != nil {
				c.ClearRouteCache = true
			}
		}),
		besides("a drain of bodies that nobody sends", func(r *extprocv3.ProcessingResponse) { r.RequestDrainRequests, r.RequestDrainResponses = true, true }),
		besides("a status that is not known", func(r *extprocv3.ProcessingResponse) {
			if c := commonOf(r); c != nil {
				c.Status = 99
			}
		}),
		besides("CONTINUE_AND_REPLACE, with a body", func(r *extprocv3.ProcessingResponse) {
			if c := commonOf(r); c != nil {
				c.Status = extprocv3.CommonResponse_CONTINUE_AND_REPLACE
				c.BodyMutation = &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: []byte("another body")}}
			}
		}),
	}
}

// commonOf returns what an answer about heads does; it is made if need be.
func commonOf(r *extprocv3.ProcessingResponse) *extprocv3.CommonResponse {
	var h *extprocv3.HeadersResponse
	switch of := r.GetResponse().(type) {
	case *extprocv3.ProcessingResponse_RequestHeaders:
		h = of.RequestHeaders
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		h = of.ResponseHeaders
	}
	if h == nil {
		return nil
	}
	if h.Response == nil {
		h.Response = &extprocv3.CommonResponse{}
	}
	return h.Response
}

// Forbidden are headers that no answer may set or, but for the last, remove.
var Forbidden = []string{
	":path", ":method", ":authority", ":scheme", "host", "content-length", "transfer-encoding", "connection",
	"x-envoy-original-path", "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-stream-duration-ms", "x-forwarded-for", "accept",
}

// mutations are answers that change what is not theirs, or cannot be.
func mutations() []Fault {
	change := func(name string, of func(*extprocv3.HeaderMutation)) Fault {
		return spoils(name, func(r *extprocv3.ProcessingResponse) {
			if c := commonOf(r); c != nil {
				if c.HeaderMutation == nil {
					c.HeaderMutation = &extprocv3.HeaderMutation{}
				}
				of(c.HeaderMutation)
			}
		})
	}
	sets := func(what, name string, value []byte) Fault {
		return change(what, func(m *extprocv3.HeaderMutation) {
			m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: name, RawValue: value},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			})
		})
	}
	var out []Fault
	for _, name := range Forbidden {
		out = append(out, sets(name+" is set", name, []byte("7")))
	}
	for _, name := range []string{":path", ":method", "host", "content-length"} {
		out = append(out, change(name+" is removed", func(m *extprocv3.HeaderMutation) { m.RemoveHeaders = append(m.RemoveHeaders, name) }))
	}
	return append(out,
		sets("a header with a line break is set", "x-ath-spoiled", []byte("a\r\nx-ath-more: b")),
		sets("a header with a NUL is set", "x-ath-spoiled", []byte("a\x00b")),
		sets("a header whose name is none is set", "x-ath spoiled", []byte("a")),
		sets("a header without a name is set", "", []byte("a")),
		sets("a header of 1 MiB is set", "x-ath-spoiled", []byte(strings.Repeat("a", 1<<20))),
		change("2,000 headers are set", func(m *extprocv3.HeaderMutation) {
			for i := range 2000 {
				m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: fmt.Sprint("x-ath-spoiled-", i), RawValue: []byte("a")}})
			}
		}),
	)
}

// metadatas are answers whose dynamic metadata does not say what it must.
func metadatas() []Fault {
	const namespace = "envoy.filters.http.ext_authz"
	change := func(name string, of func(r *extprocv3.ProcessingResponse, said map[string]*structpb.Value)) Fault {
		return spoils(name, func(r *extprocv3.ProcessingResponse) {
			if said := r.GetDynamicMetadata().GetFields()[namespace].GetStructValue().GetFields(); said != nil {
				of(r, said)
			}
		})
	}
	return []Fault{
		change("no metadata", func(r *extprocv3.ProcessingResponse, _ map[string]*structpb.Value) { r.DynamicMetadata = nil }),
		change("metadata without ath_allow", func(_ *extprocv3.ProcessingResponse, said map[string]*structpb.Value) { delete(said, "ath_allow") }),
		change("ath_allow as text", func(_ *extprocv3.ProcessingResponse, said map[string]*structpb.Value) {
			said["ath_allow"] = structpb.NewStringValue("true")
		}),
		change("ath_allow: false", func(_ *extprocv3.ProcessingResponse, said map[string]*structpb.Value) {
			said["ath_allow"] = structpb.NewBoolValue(false)
		}),
		change("metadata without a provider", func(_ *extprocv3.ProcessingResponse, said map[string]*structpb.Value) { delete(said, "provider") }),
		change("metadata of another provider", func(_ *extprocv3.ProcessingResponse, said map[string]*structpb.Value) {
			said["provider"] = structpb.NewStringValue("other")
		}),
		change("metadata in another namespace", func(r *extprocv3.ProcessingResponse, _ map[string]*structpb.Value) {
			r.DynamicMetadata.Fields["athd.judge"] = r.DynamicMetadata.Fields[namespace]
			delete(r.DynamicMetadata.Fields, namespace)
		}),
		change("metadata without a namespace", func(r *extprocv3.ProcessingResponse, said map[string]*structpb.Value) {
			r.DynamicMetadata.Fields = said
		}),
	}
}

// immediate is a reply in place of the API's.
func immediate(code typev3.StatusCode) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &extprocv3.ImmediateResponse{Status: &typev3.HttpStatus{Code: code}, Body: []byte("spoiled")},
	}}
}

// immediates are answers in place of the API's, by which an agent is told something.
func immediates() []Fault {
	none := immediate(0)
	none.GetImmediateResponse().Status = nil
	streamed := &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_StreamedImmediateResponse{
		StreamedImmediateResponse: &extprocv3.StreamedImmediateResponse{Response: &extprocv3.StreamedImmediateResponse_HeadersResponse{
			HeadersResponse: &extprocv3.HttpHeaders{EndOfStream: true, Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: ":status", RawValue: []byte("200")}}}},
		}},
	}}
	long := immediate(403)
	long.GetImmediateResponse().Headers = &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		{Header: &corev3.HeaderValue{Key: "content-length", RawValue: []byte("100000")}},
		{Header: &corev3.HeaderValue{Key: ":status", RawValue: []byte("200")}},
	}}
	out := []Fault{
		says("an immediate response of 200", immediate(200)),
		says("an immediate response without a status", none),
		says("an immediate response of status 0", immediate(0)),
		says("an immediate response of status 99", immediate(99)),
		says("an immediate response of 101", immediate(101)),
		says("two immediate responses", immediate(403), immediate(200)),
		says("an immediate response that lies of its length", long),
		says("an immediate response in parts", streamed),
	}
	for i := range out {
		out[i].Spoken = true
	}
	return out
}

// unreadable are answers that are none.
func unreadable() []Fault {
	sends := func(name string, raw Raw) Fault {
		return Fault{Name: name, Do: func(s *Stream, _ *extprocv3.ProcessingResponse) error {
			if err := s.SendMsg(raw); err != nil {
				return err
			}
			return s.Hold()
		}}
	}
	return []Fault{
		sends("bytes that are no message", Raw("\xff\xff\xff\xff")),
		sends("a message cut off", Raw("\x0a\x7f\x0a")),
		sends("a message of 8 MiB", Raw(append([]byte{0x2a, 0x80, 0x80, 0x80, 0x04}, make([]byte, 8<<20)...))),
		sends("members of tomorrow's protocol only", Raw("\xfa\x06\x03abc")),
	}
}
