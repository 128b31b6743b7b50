package athflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

const (
	maxBodyBytes   = 64 << 10         // E-1, PAYLOAD_TOO_LARGE
	requestTimeout = 15 * time.Second // for all that one request may wait for
)

// methods maps a route's methods to handlers. HEAD goes with GET.
type methods map[string]http.Handler

func (m methods) lookup(method string) (http.Handler, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h, ok := m[method]
	return h, ok
}

func (m methods) allow() string {
	names := slices.Sorted(maps.Keys(m))
	if _, ok := m[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	return strings.Join(names, ", ")
}

// A call is one request on its way through a step: the id of the decision and
// the event that tells of it, which the step completes as it learns.
type call struct {
	id     string
	header http.Header
	client string     // the client_id in the path, where the route has one
	query  url.Values // of the URL
	from   netip.Addr // of the client; not valid where nobody told it
	event  audit.Event
	quiet  bool // the step only read: its success is no decision to record

	committed *audit.Event // is on record already, before the step did what it tells of
	undo      func()       // takes back what the step did, if it cannot be put on record; may be nil
}

// serveJSON turns a step into a handler: body limit, decoding, deadline, the
// event before the answer, and errors by the one table.
func serveJSON[Req, Resp any](f *Flow, status int, refused audit.Kind, step func(context.Context, *call, *Req) (Resp, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		c := &call{id: ath.NewDecisionID(), header: r.Header, client: r.PathValue(clientIDValue), query: r.URL.Query(), from: clientAddress(r, f.limiter.Envoys)}
		c.event.DecisionID, c.event.Client = c.id, f.address(r)

		var req Req
		var resp Resp
		var err error
		if busy := f.work(ctx, laneIn(ctx), func() { err = decode(w, r, &req) }); busy != nil {
			err = busy
		}
		if err == nil {
			resp, err = step(ctx, c, &req)
		}
		if err == nil {
			err = f.acknowledge(ctx, c)
		}
		if err != nil {
			e := f.asError(ctx, c.id, err)
			f.record(ctx, c.refusal(refused, e.Code))
			f.writeError(w, r, c.id, e)
			return
		}
		writeJSON(w, status, resp)
	})
}

// asError is the one place where what went wrong becomes a code of E-1; the
// log gets the cause.
func (f *Flow) asError(ctx context.Context, id string, err error) *ath.Error {
	e := (*ath.Error)(nil)
	switch {
	case errors.As(err, &e):
		level := slog.LevelDebug
		if errors.Unwrap(e) != nil {
			level = slog.LevelInfo // something that the client is not told: an operator will be asked for it
		}
		f.Logger.Log(ctx, level, "refused", "decision_id", id, "code", e.Code, "cause", err)
	case errors.Is(err, tokenstore.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		f.Logger.WarnContext(ctx, "store operation failed", "decision_id", id, "error", err)
		e = ath.Errorf(ath.InternalError, "This cannot be done now; try again.").WithStatus(http.StatusServiceUnavailable)
	case errors.Is(err, audit.ErrUnwritten):
		f.Logger.WarnContext(ctx, "nothing was done, since it could not be put on record", "decision_id", id, "error", err)
		e = ath.Errorf(ath.InternalError, "This cannot be put on record now, and so it was not done; try again.").WithStatus(http.StatusServiceUnavailable)
	default:
		f.Logger.ErrorContext(ctx, "a step failed", "decision_id", id, "error", err)
		e = ath.Errorf(ath.InternalError, "Something went wrong here.")
	}
	return e
}

// writeError answers as E-1 says. Every refusal carries its decision_id (E-2).
func (f *Flow) writeError(w http.ResponseWriter, _ *http.Request, id string, e *ath.Error) {
	e = e.WithDetail("decision_id", id)
	w.Header().Set("X-ATH-Decision-ID", id) // P-9
	retryAfter(w, e)
	if e.Status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ath"`)
	}
	writeBody(w, e.Status(), e.Body())
}

func retryAfter(w http.ResponseWriter, e *ath.Error) {
	switch e.Status() {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		after := e.Details[retryDetail]
		if after == nil {
			after = 1
		}
		w.Header().Set("Retry-After", fmt.Sprint(after))
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)              // a URL should read as one
	if err := e.Encode(v); err != nil { // our own types: cannot happen, and must not answer a success if it does
		refusal := ath.Errorf(ath.InternalError, "Something went wrong here.")
		writeBody(w, refusal.Status(), refusal.Body())
		return
	}
	writeBody(w, status, body.Bytes())
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

// recoverPanic keeps a fault in one request from being more than that.
func (f *Flow) recoverPanic(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	id := ath.NewDecisionID()
	// The value may hold what a client sent: its type and the stack are enough.
	f.Logger.ErrorContext(r.Context(), "a handler panicked", "decision_id", id, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	f.writeError(w, r, id, ath.Errorf(ath.InternalError, "Something went wrong here."))
}

func (f *Flow) serveHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"}) // D-4
}
