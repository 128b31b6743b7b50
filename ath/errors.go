package ath

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// A Code is an error code of the wire (E-1).
type Code string

// The codes of E-1. The second group is athd's own.
const (
	InvalidAttestation    Code = "INVALID_ATTESTATION"
	AgentNotRegistered    Code = "AGENT_NOT_REGISTERED"
	AgentUnapproved       Code = "AGENT_UNAPPROVED"
	ProviderNotApproved   Code = "PROVIDER_NOT_APPROVED"
	ScopeNotApproved      Code = "SCOPE_NOT_APPROVED"
	SessionNotFound       Code = "SESSION_NOT_FOUND"
	SessionExpired        Code = "SESSION_EXPIRED"
	StateMismatch         Code = "STATE_MISMATCH"
	TokenInvalid          Code = "TOKEN_INVALID"
	TokenExpired          Code = "TOKEN_EXPIRED"
	TokenRevoked          Code = "TOKEN_REVOKED"
	AgentIdentityMismatch Code = "AGENT_IDENTITY_MISMATCH"
	ProviderMismatch      Code = "PROVIDER_MISMATCH"
	UserDenied            Code = "USER_DENIED"
	OAuthError            Code = "OAUTH_ERROR"
	InternalError         Code = "INTERNAL_ERROR"

	InvalidRequest   Code = "INVALID_REQUEST"
	Unauthorized     Code = "UNAUTHORIZED"
	Forbidden        Code = "FORBIDDEN" // an operator whose role is too small
	NotFound         Code = "NOT_FOUND"
	MethodNotAllowed Code = "METHOD_NOT_ALLOWED"
	Conflict         Code = "CONFLICT"
	PayloadTooLarge  Code = "PAYLOAD_TOO_LARGE"
	RateLimited      Code = "RATE_LIMITED"
)

// RetryDetail is the detail of a refusal that says in how many seconds to come back.
const RetryDetail = "retry_after_seconds"

// RetrySeconds is how a wait is said, in that detail and in Retry-After: in whole
// seconds, one at least.
func RetrySeconds(wait time.Duration) int {
	return int(max(1, (wait+time.Second-1)/time.Second))
}

// Status returns the usual HTTP status of the code. A code that is not in the
// table answers 500, never a success.
func (c Code) Status() int {
	switch c {
	case InvalidRequest, SessionNotFound, SessionExpired, StateMismatch:
		return http.StatusBadRequest
	case InvalidAttestation, TokenInvalid, TokenExpired, TokenRevoked, Unauthorized:
		return http.StatusUnauthorized
	case AgentNotRegistered, AgentUnapproved, ProviderNotApproved, ScopeNotApproved,
		AgentIdentityMismatch, ProviderMismatch, UserDenied, Forbidden:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case Conflict:
		return http.StatusConflict
	case PayloadTooLarge:
		return http.StatusRequestEntityTooLarge
	case RateLimited:
		return http.StatusTooManyRequests
	case OAuthError:
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}

// An Error is a refusal: what the client sees (code, status, a fixed sentence
// and details) and what only the log sees (the cause).
type Error struct {
	Code    Code
	Message string         // a fixed sentence; never contains what the client sent beyond a field's name (E-3)
	Details map[string]any // shown to the client
	cause   error          // for the log only
	status  int            // 0: the code's usual status
}

// Errorf returns an Error with the code's usual status.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithStatus returns a copy that answers with another status than usual.
func (e *Error) WithStatus(status int) *Error { c := *e; c.status = status; return &c }

// WithCause returns a copy that remembers why, for the log.
func (e *Error) WithCause(err error) *Error { c := *e; c.cause = err; return &c }

// WithDetail returns a copy with one more detail for the client.
func (e *Error) WithDetail(key string, value any) *Error {
	c := *e
	c.Details = make(map[string]any, len(e.Details)+1)
	maps.Copy(c.Details, e.Details)
	c.Details[key] = value
	return &c
}

// Status returns the HTTP status, which is never a success.
func (e *Error) Status() int {
	if e.status >= 400 && e.status <= 599 {
		return e.status
	}
	return e.Code.Status()
}

// Body returns what a client is answered, as JSON on a line of its own (E-1):
// code, message and, where there are any, details.
func (e *Error) Body() []byte {
	body := errorBody{e.Code, e.Message, e.Details}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // a URL should read as one
	if encoder.Encode(body) != nil {
		b.Reset()
		body.Details = nil       // a detail of a type that JSON does not have: a programming error
		_ = encoder.Encode(body) // two texts always encode
	}
	return b.Bytes()
}

type errorBody struct {
	Code    Code           `json:"code"`
	Message string         `json:"message"`
	Details map[string]any `json:"details,omitempty"`
}

// Error returns code, sentence and cause: for logs, not for clients.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }
