package envoy

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// Keys of the dynamic metadata that a reply sets, under the name of the
// ext_authz filter. The guard in the configuration wants the first two.
const (
	metaAllow    = "ath_allow"    // true on an allow; not there on a refusal
	metaProvider = "ath_provider" // on an allow
	metaDecision = "decision_id"
	metaReason   = "reason"
	metaAgent    = "agent"
	metaScope    = "scope" // on an allow
)

// reply is the only place that builds an allow. Whatever is odd about one
// refuses, and the error says why.
func (q question) reply(d authz.Decision) (*authv3.CheckResponse, error) {
	if !d.Allowed() {
		return q.refuse(d), nil
	}
	authorization := d.Authorization().Reveal()
	switch {
	case d.Provider == "" || d.Provider != q.Provider:
		return q.refuse(authz.Decision{ID: d.ID}), errors.New("the decision is for another provider than the route's")
	case !printable(authorization):
		return q.refuse(authz.Decision{ID: d.ID}), errors.New("the credential holds bytes that no header may hold")
	}
	meta := metadata(&d)
	meta.Fields[metaAllow] = structpb.NewBoolValue(true)
	meta.Fields[metaProvider] = text(d.Provider)
	meta.Fields[metaScope] = text(d.Scope)
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{replace(headerAuthorization, authorization)},
			// An agent has no business with cookies; a browser's cookies that
			// it got hold of must not count.
			HeadersToRemove: append([]string{"cookie"}, q.removes...),
		}},
		DynamicMetadata: meta,
	}, nil
}

// refuse answers with the decision's own refusal. It is always a
// denied_response: Envoy lets an error_response through where
// failure_mode_allow is set.
func (q question) refuse(d authz.Decision) *authv3.CheckResponse {
	if d.ID == "" || d.Allowed() {
		// A zero decision, or a caller's mistake.
		d = authz.Decision{ID: d.ID}
		if d.ID == "" {
			d.ID = knownID(q.ID)
		}
	}
	e := d.Refusal()
	code, httpStatus := codes.PermissionDenied, e.Status()
	if httpStatus == http.StatusUnauthorized {
		code = codes.Unauthenticated
	}
	if _, known := typev3.StatusCode_name[int32(httpStatus)]; !known {
		httpStatus = http.StatusInternalServerError
	}
	headers := []*corev3.HeaderValueOption{
		// The content type also keeps Envoy from rewriting the reply: see
		// the first mapper of its local replies.
		replace("content-type", "application/json"),
		replace("cache-control", "no-store"),
	}
	switch httpStatus {
	case http.StatusUnauthorized:
		headers = append(headers, replace("www-authenticate", challenge(d.Reason())))
	case http.StatusServiceUnavailable:
		headers = append(headers, replace("retry-after", "1"))
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(code), Message: string(d.Reason())},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(httpStatus)},
			Headers: headers,
			Body:    body(e),
		}},
		DynamicMetadata: metadata(&d),
	}
}

// knownID keeps the id under which a question was asked; a question that could
// not be read has none yet.
func knownID(id string) string {
	if id == "" {
		return ath.NewDecisionID()
	}
	return id
}

// challenge is the WWW-Authenticate header of RFC 6750, section 3: without an
// error code where no token was sent.
func challenge(r authz.Reason) string {
	if r == authz.TokenMissing {
		return `Bearer realm="ath"`
	}
	return `Bearer realm="ath", error="invalid_token"`
}

// body is the refusal as JSON (E-1).
func body(e *ath.Error) string {
	b, err := json.Marshal(struct {
		Code    ath.Code       `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details,omitempty"`
	}{e.Code, e.Message, e.Details})
	if err != nil {
		return `{"code":"` + string(ath.InternalError) + `","message":"The request could not be judged."}`
	}
	return string(b) + "\n"
}

func metadata(d *authz.Decision) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		metaDecision: text(d.ID),
		metaReason:   text(string(d.Reason())),
		metaAgent:    text(d.Agent),
	}}
}

// text makes a metadata value. A string that is not UTF-8 would make the
// whole reply unsendable.
func text(s string) *structpb.Value {
	return structpb.NewStringValue(strings.ToValidUTF8(s, "?"))
}

// replace sets a header, whatever was there. Append is said explicitly: Envoy
// 1.37.0 took its absence for true. It is value and never raw_value, from
// which ext_authz makes an empty header.
func replace(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		Append:       wrapperspb.Bool(false),
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// printable reports whether s holds visible ASCII and spaces only: no CR, LF
// or NUL that would end a header.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
