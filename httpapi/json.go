package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

const maxBodyBytes = 64 << 10 // E-1, PAYLOAD_TOO_LARGE

// RequestTimeout is for all that one request may wait for.
const RequestTimeout = 15 * time.Second

// A Call is one request on its way through a step: the id of the decision and
// the event that reports it, which the step completes as it learns.
type Call struct {
	ID     string
	Header http.Header
	Client string // the client_id in the path, where the route has one
	// Connection is the connection_id in the path, where the route has one.
	Connection ath.ConnectionID
	Provider   string     // the provider_id in the path, where the route has one
	Query      url.Values // of the URL
	From       netip.Addr // of the client; not valid where nobody told it
	Operator   Operator   // whoever makes it, where that is for operators; else nobody
	Event      audit.Event
	Quiet      bool // the step only read: its success is no decision to record

	committed *audit.Event // is on record already, before the step did what it reports
	Undo      func()       // takes back what the step did, if it cannot be put on record; may be nil
}

// NewCall begins a call.
func (s *Server) NewCall(r *http.Request) *Call {
	c := &Call{ID: ath.NewDecisionID(), Header: r.Header, Client: r.PathValue(clientIDValue), Query: r.URL.Query(), From: s.ClientAddress(r)}
	c.Provider = r.PathValue(providerIDValue)
	c.Connection, _ = ath.ParseConnectionID(r.PathValue(connectionIDValue))
	c.Event.DecisionID, c.Event.Client = c.ID, s.Address(r)
	c.Operator, _ = r.Context().Value(operatorKey{}).(Operator)
	c.Event.By, c.Event.Role = c.Operator.Name, string(c.Operator.Role)
	return c
}

// JSON turns a step into a handler that wants a body. refused is the event of
// its refusals.
func JSON[Req, Resp any](s *Server, status int, refused audit.Kind, step func(context.Context, *Call, *Req) (Resp, error)) http.Handler {
	return handle(s, status, refused, decode, step)
}

// OptionalJSON turns a step into a handler that takes requests with and
// without a body. Without one everything is meant, so that a misspelt field
// must not pass for none: a field that Req does not have is refused.
func OptionalJSON[Req, Resp any](s *Server, step func(context.Context, *Call, *Req) (Resp, error)) http.Handler {
	return handle(s, http.StatusOK, audit.AccessDenied, decodeOptional, step)
}

// Accepted is [OptionalJSON] for a step that goes on after it was answered: with 202.
func Accepted[Req, Resp any](s *Server, step func(context.Context, *Call, *Req) (Resp, error)) http.Handler {
	return handle(s, http.StatusAccepted, audit.AccessDenied, decodeOptional, step)
}

// Document turns a step into a handler that is given its body as it was sent, for
// documents that say themselves what is wrong with them and where.
func Document[Resp any](s *Server, status int, step func(context.Context, *Call, *[]byte) (Resp, error)) http.Handler {
	return handle(s, status, audit.AccessDenied, func(w http.ResponseWriter, r *http.Request, into any) error {
		body, err := wholeBody(w, r)
		if err != nil {
			return unread(err)
		}
		*into.(*[]byte) = bytes.Clone(body) // the buffer is another request's next
		return nil
	}, step)
}

// Headed is a reply with headers of its own.
type Headed interface{ SetHeaders(http.Header) }

// handle does what every step has in common: body limit, decoding, deadline,
// the event before the answer, and errors by the one table.
func handle[Req, Resp any](s *Server, status int, refused audit.Kind, read func(http.ResponseWriter, *http.Request, any) error, step func(context.Context, *Call, *Req) (Resp, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
		defer cancel()
		c := s.NewCall(r)
		var req Req
		var resp Resp
		var err error
		if busy := s.Work(ctx, laneIn(ctx), func() { err = read(w, r, &req) }); busy != nil {
			err = busy
		}
		if err == nil {
			resp, err = step(ctx, c, &req)
		}
		if err == nil {
			err = s.acknowledge(ctx, c)
		}
		if err != nil {
			e := s.AsError(ctx, c.ID, err)
			s.RecordRefusal(r, c.refusal(refused, e.Code), e.Code)
			s.WriteError(w, c.ID, e)
			return
		}
		if h, ok := any(resp).(Headed); ok {
			h.SetHeaders(w.Header())
		}
		WriteJSON(w, status, resp)
	})
}

// AsError is the one place where what went wrong becomes a code of E-1; the
// log gets the cause.
func (s *Server) AsError(ctx context.Context, id string, err error) *ath.Error {
	e := (*ath.Error)(nil)
	switch {
	case errors.As(err, &e):
		level := slog.LevelDebug
		if errors.Unwrap(e) != nil {
			level = slog.LevelInfo // something that the client is not told: an operator will be asked for it
		}
		s.Logger.Log(ctx, level, "refused", "decision_id", id, "code", e.Code, "cause", err)
	case errors.Is(err, tokenstore.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		s.Logger.WarnContext(ctx, "store operation failed", "decision_id", id, "error", err)
		e = ath.Errorf(ath.InternalError, "This cannot be done now; try again.").WithStatus(http.StatusServiceUnavailable)
	case errors.Is(err, audit.ErrUnwritten):
		s.Logger.WarnContext(ctx, "nothing was done, since it could not be put on record", "decision_id", id, "error", err)
		e = ath.Errorf(ath.InternalError, "This cannot be put on record now, and so it was not done; try again.").WithStatus(http.StatusServiceUnavailable)
	default:
		s.Logger.ErrorContext(ctx, "handshake step failed", "decision_id", id, "error", err)
		e = ath.Errorf(ath.InternalError, "Something went wrong here.")
	}
	return e
}

// WriteError answers as E-1 says. Every refusal carries its decision_id (E-2).
func (s *Server) WriteError(w http.ResponseWriter, id string, e *ath.Error) {
	e = e.WithDetail("decision_id", id)
	w.Header().Set("X-ATH-Decision-ID", id) // P-9
	RetryAfter(w, e)
	if e.Status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ath"`)
	}
	writeBody(w, e.Status(), e.Body())
}

// RetryAfter sets the header of this name where it is worth to come back.
func RetryAfter(w http.ResponseWriter, e *ath.Error) {
	switch e.Status() {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		after := e.Details[ath.RetryDetail]
		if after == nil {
			after = 1
		}
		w.Header().Set("Retry-After", fmt.Sprint(after))
	}
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)              // a URL should read as one
	if err := e.Encode(v); err != nil { // our own types: cannot happen, and must not answer a success if it does
		writeUnencodable(w)
		return
	}
	writeBody(w, status, body.Bytes())
}

func writeUnencodable(w http.ResponseWriter) {
	refusal := ath.Errorf(ath.InternalError, "Something went wrong here.")
	writeBody(w, refusal.Status(), refusal.Body())
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(body)
}

// RecoverPanic keeps a fault in one request from being more than that.
func (s *Server) RecoverPanic(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(p)
	}
	id := ath.NewDecisionID()
	// The value may hold what a client sent: its type and the stack are enough.
	s.Logger.ErrorContext(r.Context(), "a handler panicked", "decision_id", id, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	s.WriteError(w, id, ath.Errorf(ath.InternalError, "Something went wrong here."))
}

// ServeHealth says that the process lives (D-4).
func ServeHealth(w http.ResponseWriter, _ *http.Request) {
	WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// List keeps an absent list from showing as null.
func List[S ~[]string](s S) []string {
	if s == nil {
		return []string{}
	}
	return s
}
