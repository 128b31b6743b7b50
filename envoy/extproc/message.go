package extproc

import (
	"errors"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

var (
	errUnjudged = errors.New("the stream ended before the request was judged: Envoy would let it through")
	errKind     = errors.New("a message of a kind that no role asks for")
	errOrder    = errors.New("a message that does not belong here")
	errObserver = errors.New("the filter only observes, and obeys no answer")
	errValue    = errors.New("headers come as text, where they must come byte for byte")
)

// read reads a message.
func read(from *extprocv3.ProcessingRequest) (*exchange.Message, error) {
	var headers *corev3.HeaderMap
	m := &exchange.Message{Observed: from.GetObservabilityMode()}
	switch r := from.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		m.Phase, headers, m.Last = exchange.RequestHeaders, r.RequestHeaders.GetHeaders(), r.RequestHeaders.GetEndOfStream()
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		m.Phase, headers, m.Last = exchange.ResponseHeaders, r.ResponseHeaders.GetHeaders(), r.ResponseHeaders.GetEndOfStream()
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		m.Phase, headers, m.Last = exchange.ResponseTrailers, r.ResponseTrailers.GetTrailers(), true
	}
	if m.Phase == 0 || headers == nil {
		return nil, errKind
	}
	m.Headers = make([]exchange.Header, 0, len(headers.GetHeaders()))
	for _, h := range headers.GetHeaders() {
		if h.GetValue() != "" {
			return nil, errValue
		}
		m.Headers = append(m.Headers, exchange.Header{Name: strings.ToLower(h.GetKey()), Value: string(h.GetRawValue())})
	}
	m.Metadata = texts(from.GetMetadataContext().GetFilterMetadata()[envoy.MetaNamespace])
	m.Sent = from.GetMetadataContext().GetFilterMetadata()[envoy.SentNamespace].GetFields()[envoy.MetaSent].GetStringValue()
	m.Attributes = texts(from.GetAttributes()["envoy.filters.http.ext_proc"])
	return m, nil
}

// texts are the members of a struct that are no lists and no structs themselves.
func texts(s *structpb.Struct) map[string]string {
	if len(s.GetFields()) == 0 {
		return nil
	}
	out := make(map[string]string, len(s.GetFields()))
	for key, value := range s.GetFields() {
		switch v := value.GetKind().(type) {
		case *structpb.Value_StringValue:
			out[key] = v.StringValue
		case *structpb.Value_BoolValue:
			out[key] = strconv.FormatBool(v.BoolValue)
		case *structpb.Value_NumberValue:
			out[key] = strconv.FormatFloat(v.NumberValue, 'f', -1, 64)
		}
	}
	return out
}

// write writes the answer to a message.
func write(phase exchange.Phase, r *exchange.Reply) *extprocv3.ProcessingResponse {
	out := &extprocv3.ProcessingResponse{DynamicMetadata: said(r)}
	if r.Refusal != nil {
		out.Response = &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(r.Refusal.Status)},
			Headers: &extprocv3.HeaderMutation{SetHeaders: options(nil, r.Refusal.Headers, replace)},
			Body:    []byte(r.Refusal.Body), Details: r.Refusal.Details,
		}}
		return out
	}
	mutation := &extprocv3.HeaderMutation{RemoveHeaders: r.Remove, SetHeaders: options(options(nil, r.Set, replace), r.Add, add)}
	common := &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: mutation}}
	switch phase {
	case exchange.RequestHeaders:
		out.Response = &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: common}
	case exchange.ResponseHeaders:
		out.Response = &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: common}
	case exchange.ResponseTrailers:
		out.Response = &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{HeaderMutation: mutation}}
	}
	return out
}

const (
	replace = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	add     = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
)

// options are headers of an answer: as raw values, the only ones that ext_proc reads.
func options(to []*corev3.HeaderValueOption, headers [][2]string, action corev3.HeaderValueOption_HeaderAppendAction) []*corev3.HeaderValueOption {
	for _, h := range headers {
		o := &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])}, AppendAction: action}
		if action == add {
			o.Append = wrapperspb.Bool(true) // without which ext_proc replaces, whatever the action is
		}
		to = append(to, o)
	}
	return to
}

// said is the dynamic metadata of an answer, where guards and access logs read that
// of ext_authz.
func said(r *exchange.Reply) *structpb.Struct {
	if r.Sent != "" { // of RoleRetry, which says nothing else
		return under(envoy.SentNamespace, map[string]*structpb.Value{envoy.MetaSent: structpb.NewStringValue(r.Sent)})
	}
	if len(r.Metadata) == 0 {
		return nil
	}
	fields := make(map[string]*structpb.Value, len(r.Metadata))
	for _, m := range r.Metadata {
		if m.Yes {
			fields[m.Key] = structpb.NewBoolValue(true)
		} else {
			fields[m.Key] = structpb.NewStringValue(strings.ToValidUTF8(m.Text, "?"))
		}
	}
	return under(envoy.MetaNamespace, fields)
}

func under(namespace string, fields map[string]*structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{namespace: structpb.NewStructValue(&structpb.Struct{Fields: fields})}}
}
