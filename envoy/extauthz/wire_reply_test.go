package extauthz

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// generatedReply builds what encode writes from the generated types.
func generatedReply(a *exchange.Answer) *authv3.CheckResponse {
	valid := func(s string) string { return strings.ToValidUTF8(s, "?") }
	var headers []*corev3.HeaderValueOption
	for _, h := range a.Sets {
		headers = append(headers, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: valid(h[0]), Value: valid(h[1])},
			Append:       wrapperspb.Bool(false),
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	meta := map[string]*structpb.Value{}
	for _, m := range a.Metadata {
		meta[valid(m.Key)] = structpb.NewStringValue(valid(m.Text))
		if m.Yes {
			meta[valid(m.Key)] = structpb.NewBoolValue(true)
		}
	}
	r := &authv3.CheckResponse{DynamicMetadata: &structpb.Struct{Fields: meta}}
	if a.Allow {
		var removes []string
		for _, name := range a.Removes {
			removes = append(removes, valid(name))
		}
		r.Status = &rpcstatus.Status{}
		var blanks []*corev3.HeaderValueOption
		for _, name := range a.Blanks {
			blanks = append(blanks, &corev3.HeaderValueOption{
				Header: &corev3.HeaderValue{Key: valid(name)}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS,
			})
		}
		r.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: headers, HeadersToRemove: removes, ResponseHeadersToAdd: blanks}}
		return r
	}
	code := codes.PermissionDenied
	if a.Status == 401 {
		code = codes.Unauthenticated
	}
	r.Status = &rpcstatus.Status{Code: int32(code), Message: valid(a.Reason)}
	r.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)}, Headers: headers, Body: valid(a.Body),
	}}
	return r
}

// FuzzReply: an encoded reply is what the generated code would have sent.
func FuzzReply(f *testing.F) {
	f.Add(true, 0, "authorization", "Bearer x", "cookie,x-ath-agent-id", "decision_id", "dec_1")
	f.Add(false, 403, "content-type", "application/json", `{"code":"X"}`, "reason", "token_missing")
	f.Add(false, 401, "", strings.Repeat("long", 5000), strings.Repeat("x", 127), "\xff", strings.Repeat("y", 128))
	f.Fuzz(func(t *testing.T, allow bool, status int, name, value, text, key, meta string) {
		if allow != (status == 0) || status < 0 || status > 999 {
			return // no answer is half of each
		}
		a := exchange.Answer{
			Allow: allow, Status: status, Reason: name, Body: text, Removes: strings.Split(text, ","), Blanks: strings.Split(meta, ","),
			Sets: [][2]string{{name, value}, {value, name}}, Metadata: []exchange.Metadatum{{Key: key, Text: meta}, {Key: name, Yes: true}},
		}
		if got, want := decoded(t, encode(&a)), generatedReply(&a); !proto.Equal(got, want) {
			t.Fatalf("encoded   %v\ngenerated %v", got, want)
		}
	})
}

// The least that an answer can be refuses: code 0 would allow, whatever stands
// beside it.
func TestTheZeroAnswerRefuses(t *testing.T) {
	for name, a := range map[string]exchange.Answer{
		"zero": {}, "with headers for an allow": {Sets: [][2]string{{envoy.HeaderAuthorization, "Bearer x"}}, Removes: []string{envoy.HeaderCookie}},
		"with a reason": {Status: 403, Reason: "allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := decoded(t, encode(&a))
			if status := r.GetDeniedResponse().GetStatus().GetCode(); r.GetStatus().GetCode() == 0 || status < 400 {
				t.Errorf("%v", r)
			}
		})
	}
}
