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
)

// generatedReply builds what encode writes from the generated types.
func generatedReply(a *answer) *authv3.CheckResponse {
	valid := func(s string) string { return strings.ToValidUTF8(s, "?") }
	var headers []*corev3.HeaderValueOption
	for _, h := range a.sets {
		headers = append(headers, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: valid(h[0]), Value: valid(h[1])},
			Append:       wrapperspb.Bool(false),
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	meta := map[string]*structpb.Value{}
	for _, m := range a.metadata {
		meta[valid(m.key)] = structpb.NewStringValue(valid(m.text))
		if m.yes {
			meta[valid(m.key)] = structpb.NewBoolValue(true)
		}
	}
	r := &authv3.CheckResponse{DynamicMetadata: &structpb.Struct{Fields: meta}}
	if a.allow {
		var removes []string
		for _, name := range a.removes {
			removes = append(removes, valid(name))
		}
		r.Status = &rpcstatus.Status{}
		r.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: headers, HeadersToRemove: removes}}
		return r
	}
	r.Status = &rpcstatus.Status{Code: int32(a.code), Message: valid(a.reason)}
	r.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.status)}, Headers: headers, Body: valid(a.body),
	}}
	return r
}

// FuzzReply: an encoded reply is what the generated code would have sent.
func FuzzReply(f *testing.F) {
	f.Add(true, int32(0), 0, "authorization", "Bearer x", "cookie,x-ath-agent-id", "decision_id", "dec_1")
	f.Add(false, int32(codes.PermissionDenied), 403, "content-type", "application/json", `{"code":"X"}`, "reason", "token_missing")
	f.Add(false, int32(codes.Unauthenticated), 401, "", strings.Repeat("long", 5000), strings.Repeat("x", 127), "\xff", strings.Repeat("y", 128))
	f.Fuzz(func(t *testing.T, allow bool, code int32, status int, name, value, text, key, meta string) {
		if allow != (code == 0) || allow != (status == 0) || code < 0 || status < 0 || status > 999 {
			return // no answer is half of each
		}
		a := answer{
			allow: allow, code: codes.Code(code), status: status, reason: name, body: text, removes: strings.Split(text, ","),
			sets: [][2]string{{name, value}, {value, name}}, metadata: []metadatum{{key: key, text: meta}, {key: name, yes: true}},
		}
		if got, want := decoded(t, a.encode()), generatedReply(&a); !proto.Equal(got, want) {
			t.Fatalf("encoded   %v\ngenerated %v", got, want)
		}
	})
}

// The least that an answer can be refuses: code 0 would allow, whatever stands
// beside it.
func TestTheZeroAnswerRefuses(t *testing.T) {
	for name, a := range map[string]answer{
		"zero": {}, "with headers for an allow": {sets: [][2]string{{envoy.HeaderAuthorization, "Bearer x"}}, removes: []string{envoy.HeaderCookie}},
		"with code 0": {status: 403, code: codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			r := decoded(t, a.encode())
			if status := r.GetDeniedResponse().GetStatus().GetCode(); r.GetStatus().GetCode() == 0 || status < 400 {
				t.Errorf("%v", r)
			}
		})
	}
}
