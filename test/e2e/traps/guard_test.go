package traps

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/ath"
)

// fixed is a script that always says the same.
func fixed(response *authv3.CheckResponse, err error) script {
	return func(context.Context, *authv3.CheckRequest, authv3.AuthorizationClient) (*authv3.CheckResponse, error) {
		return response, err
	}
}

// allow is an allow as athd's, for this provider, with these headers.
func allow(provider string, headers ...*corev3.HeaderValueOption) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: headers}},
		DynamicMetadata: metadata(map[string]any{"ath_allow": true, "provider": provider}),
	}
}

func metadata(m map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(m)
	if err != nil {
		panic(err) // a test's own mistake
	}
	return s
}

func value(name, v string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: v}}
}

// unanswered asserts the JSON that Envoy says when athd has not decided.
func unanswered(t *testing.T, response *http.Response, body string) {
	t.Helper()
	mustBeError(t, response, body, 503, ath.InternalError)
	if response.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

func mustBeError(t *testing.T, response *http.Response, body string, status int, code ath.Code) {
	t.Helper()
	var e struct {
		Code    ath.Code
		Message string
	}
	if response.StatusCode != status {
		t.Errorf("status %d, want %d: %s", response.StatusCode, status, body)
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code != code || e.Message == "" {
		t.Errorf("E-1: body %q (%v), want code %s", body, err, code)
	}
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
}

// What a check that said nothing, or not the right thing, must not open.
func TestGuardDeniesWithoutAWholeDecision(t *testing.T) {
	r := newRig(t)
	ok := &rpcstatus.Status{}
	okResponse := &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}
	denied := &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 403}}}
	allowing := metadata(map[string]any{"ath_allow": true, "provider": "plain"})
	refused := map[string]script{
		"an empty CheckResponse":        fixed(&authv3.CheckResponse{}, nil),
		"nil":                           fixed(nil, nil),
		"OK without metadata":           fixed(&authv3.CheckResponse{Status: ok, HttpResponse: okResponse}, nil),
		"OK with a denied_response":     fixed(&authv3.CheckResponse{Status: ok, HttpResponse: denied}, nil),
		"an error_response with code 0": fixed(&authv3.CheckResponse{Status: ok, HttpResponse: &authv3.CheckResponse_ErrorResponse{}}, nil),
		"ath_allow without a provider":  fixed(&authv3.CheckResponse{Status: ok, HttpResponse: okResponse, DynamicMetadata: metadata(map[string]any{"ath_allow": true})}, nil),
		"a provider without ath_allow":  fixed(&authv3.CheckResponse{Status: ok, HttpResponse: okResponse, DynamicMetadata: metadata(map[string]any{"provider": "plain"})}, nil),
		"ath_allow as text":             fixed(&authv3.CheckResponse{Status: ok, HttpResponse: okResponse, DynamicMetadata: metadata(map[string]any{"ath_allow": "true", "provider": "plain"})}, nil),
		"ath_allow: false":              fixed(&authv3.CheckResponse{Status: ok, HttpResponse: okResponse, DynamicMetadata: metadata(map[string]any{"ath_allow": false, "provider": "plain"})}, nil),
		"another provider's allow":      fixed(allow("tls"), nil),
		"a gRPC error":                  fixed(nil, status.Error(codes.Internal, "x")),
		"PERMISSION_DENIED as an error": fixed(nil, status.Error(codes.PermissionDenied, "x")),
		"no answer in time": func(ctx context.Context, _ *authv3.CheckRequest, _ authv3.AuthorizationClient) (*authv3.CheckResponse, error) {
			<-ctx.Done() // Envoy's own timeout comes as a deadline
			time.Sleep(300 * time.Millisecond)
			return allow("plain"), nil
		},
		"a denial without a word": fixed(&authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}, DynamicMetadata: allowing}, nil),
	}
	for name, s := range refused {
		t.Run(name, func(t *testing.T) {
			r.play(s)
			response, body := r.do(r.request("plain", "GET", "/ath/proxy/plain/x", nil))
			unanswered(t, response, body)
			if got := r.plain.take(); len(got) > 0 {
				t.Fatalf("the API saw %+v", got)
			}
		})
	}
	t.Run("an allow passes", func(t *testing.T) {
		r.play(fixed(allow("plain"), nil))
		if response, body := r.do(r.request("plain", "GET", "/ath/proxy/plain/x", nil)); response.StatusCode != 200 {
			t.Fatalf("%s: %s", response.Status, body)
		}
	})
	t.Run("a provider's allow does not open an app", func(t *testing.T) {
		r.play(fixed(allow("plain"), nil))
		response, body := r.do(r.request("plain", "GET", "/x", nil))
		unanswered(t, response, body)
		if got := r.plain.take(); len(got) > 0 {
			t.Fatalf("the app saw %+v", got)
		}
	})
	t.Run("athd is away", func(t *testing.T) {
		r.play(askReal)
		r.stopAuthz()
		for _, path := range []string{"/ath/proxy/plain/x", "/x", "/ath/proxy/none/x"} {
			response, body := r.do(r.request("plain", "GET", path, nil))
			unanswered(t, response, body)
		}
		if got := r.plain.take(); len(got) > 0 {
			t.Fatalf("the API saw %+v", got)
		}
	})
}

// What an allow may change, and how.
func TestMutations(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{":path", ":method", "host", "content-length", "transfer-encoding", "x-forwarded-for", "x-other"} {
		t.Run("an allow that sets "+name+" opens nothing", func(t *testing.T) {
			r.play(fixed(allow("plain", value(name, "7")), nil))
			response, body := r.do(r.request("plain", "GET", "/ath/proxy/plain/x", nil))
			unanswered(t, response, body)
			if got := r.plain.take(); len(got) > 0 {
				t.Fatalf("the API saw %+v", got)
			}
		})
	}
	for name, tt := range map[string]struct {
		option *corev3.HeaderValueOption
		want   string
	}{
		"value is what goes up": {value("authorization", "Bearer new"), "Bearer new"},
		"raw_value goes up empty": {&corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: "authorization", RawValue: []byte("Bearer new")},
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.play(fixed(allow("plain", tt.option), nil))
			r.do(r.request("plain", "GET", "/ath/proxy/plain/x", nil))
			got := r.plain.take()
			if len(got) != 1 {
				t.Fatalf("the API saw %d requests", len(got))
			}
			if all := got[0].header.Values("Authorization"); len(all) != 1 || all[0] != tt.want {
				t.Errorf("the API saw authorization %q, want %q", all, tt.want)
			}
		})
	}
}
