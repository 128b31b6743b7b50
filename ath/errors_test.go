package ath_test

import (
	"errors"
	"io"
	"testing"

	"github.com/athd/athd/ath"
)

func TestCodesHaveTheirHTTPStatus(t *testing.T) {
	for code, want := range map[ath.Code]int{
		"INVALID_ATTESTATION": 401, "AGENT_NOT_REGISTERED": 403, "AGENT_UNAPPROVED": 403, "PROVIDER_NOT_APPROVED": 403,
		"SCOPE_NOT_APPROVED": 403, "SESSION_NOT_FOUND": 400, "SESSION_EXPIRED": 400, "STATE_MISMATCH": 400,
		"TOKEN_INVALID": 401, "TOKEN_EXPIRED": 401, "TOKEN_REVOKED": 401, "AGENT_IDENTITY_MISMATCH": 403,
		"PROVIDER_MISMATCH": 403, "USER_DENIED": 403, "OAUTH_ERROR": 502, "INTERNAL_ERROR": 500,
		"INVALID_REQUEST": 400, "UNAUTHORIZED": 401, "FORBIDDEN": 403, "NOT_FOUND": 404, "METHOD_NOT_ALLOWED": 405, "CONFLICT": 409,
		"PAYLOAD_TOO_LARGE": 413, "RATE_LIMITED": 429,
	} {
		t.Run("E-1: "+string(code), func(t *testing.T) {
			if got := ath.Errorf(code, "x").Status(); got != want {
				t.Errorf("status is %d, want %d", got, want)
			}
		})
	}
	for _, unknown := range []ath.Code{"", "OK", "token_invalid"} {
		if got := unknown.Status(); got != 500 {
			t.Errorf("E-1: %q answers %d: an unknown code is never a success", unknown, got)
		}
	}
}

func TestErrorStatusIsNeverASuccess(t *testing.T) {
	e := ath.Errorf(ath.InternalError, "the store is away")
	for status, want := range map[int]int{503: 503, 400: 400, 599: 599, 200: 500, 204: 500, 302: 500, 0: 500, -1: 500, 600: 500} {
		if got := e.WithStatus(status).Status(); got != want {
			t.Errorf("with %d it answers %d, want %d", status, got, want)
		}
	}
}

func TestErrorCopies(t *testing.T) {
	plain := ath.Errorf(ath.TokenInvalid, "the token is %s", "unknown").WithDetail("a", 1)
	rich := plain.WithDetail("b", 2).WithCause(io.EOF).WithStatus(403)
	if len(plain.Details) != 1 || plain.Status() != 401 || errors.Is(plain, io.EOF) {
		t.Errorf("the first one changed: %+v", plain)
	}
	if rich.Details["a"] != 1 || rich.Details["b"] != 2 || !errors.Is(rich, io.EOF) || rich.Status() != 403 || rich.Code != ath.TokenInvalid {
		t.Errorf("the copy is %+v", rich)
	}
	if got, want := plain.Error(), "TOKEN_INVALID: the token is unknown"; got != want {
		t.Errorf("it reads %q", got)
	}
	if got, want := rich.Error(), "TOKEN_INVALID: the token is unknown: EOF"; got != want {
		t.Errorf("with its cause it reads %q", got)
	}
}

// proves: E-1
func TestErrorBodyIsCodeMessageAndDetails(t *testing.T) {
	for _, c := range []struct {
		err  *ath.Error
		want string
	}{
		{ath.Errorf(ath.NotFound, "There is nothing at this path."), `{"code":"NOT_FOUND","message":"There is nothing at this path."}`},
		{
			ath.Errorf(ath.InvalidRequest, "Look at <https://a.example/?x=1&y=2>.").WithDetail("field", "code").WithDetail("tries_left", 0),
			`{"code":"INVALID_REQUEST","message":"Look at <https://a.example/?x=1&y=2>.","details":{"field":"code","tries_left":0}}`,
		},
		{ath.Errorf(ath.TokenInvalid, "No.").WithCause(errors.New("the cause is for the log")), `{"code":"TOKEN_INVALID","message":"No."}`},
		// A detail that JSON cannot express goes; the refusal stays what it is.
		{ath.Errorf(ath.RateLimited, "Later.").WithDetail("f", func() {}), `{"code":"RATE_LIMITED","message":"Later."}`},
	} {
		if got := string(c.err.Body()); got != c.want+"\n" {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
