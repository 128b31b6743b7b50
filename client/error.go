package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

const (
	decisionHeader = "X-Ath-Decision-Id"
	decisionDetail = "decision_id"
	maxRetryAfter  = 24 * time.Hour
)

// An Error is a reply that is not a success (E-1).
type Error struct {
	Status  int
	Code    ath.Code // "": the reply is not one of an ATH server, or has no body
	Message string   // for people; a server's words, so escape what you show
	Details map[string]any
	// DecisionID names the decision in the server's logs (E-2): tell it to the
	// operator.
	DecisionID string
	// RetryAfter is how long to wait before another try; 0: not said.
	RetryAfter time.Duration

	own bool // it has the header that an API cannot send (P-9), and the same id in its details
}

// Error names status and code. The server's message is cut to 500 bytes, and
// quoted.
func (e *Error) Error() string {
	if e.Code == "" && e.DecisionID != "" {
		return fmt.Sprintf("client: refused with %d [%.60q]", e.Status, e.DecisionID)
	}
	if e.Code == "" {
		return fmt.Sprintf("client: the server answered %d, but not as an ATH server does", e.Status)
	}
	return fmt.Sprintf("client: refused with %d %.60q: %.500q", e.Status, string(e.Code), e.Message)
}

// CodeOf returns the code of the [*Error] in err, or "".
func CodeOf(err error) ath.Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// ErrorOf reads a reply that is not a success, for who sends requests by other
// means than this package.
func ErrorOf(status int, h http.Header, body []byte) *Error {
	return errorOf(status, h, body, time.Now())
}

// errorOf is ErrorOf. now is for Retry-After.
func errorOf(status int, h http.Header, body []byte, now time.Time) *Error {
	e := &Error{Status: status, DecisionID: h.Get(decisionHeader), RetryAfter: retryAfter(h.Get("Retry-After"), now)}
	var said struct {
		Code    ath.Code       `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	}
	if json.Unmarshal(body, &said) != nil || said.Code == "" {
		return e
	}
	e.Code, e.Message, e.Details = said.Code, said.Message, said.Details
	id, ok := said.Details[decisionDetail].(string)
	if ok && e.DecisionID == "" {
		e.DecisionID = id
	}
	e.own = ok && id != "" && slices.Equal(h.Values(decisionHeader), []string{id})
	return e
}

// detail is a text among the details.
func (e *Error) detail(name string) string {
	s, _ := e.Details[name].(string)
	return s
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110,
// section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	var after time.Duration
	if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		after = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		after = at.Sub(now)
	}
	return max(0, min(after, maxRetryAfter))
}
