// Package wire shows what goes over the wire: a [Recorder] between a client and
// its transport keeps every exchange whole, for the demo, athctl and tests.
package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

// MaxReplyBytes is how long a reply may be.
const MaxReplyBytes = 1 << 20

// An Exchange is one request and its reply, whole: it holds secrets.
type Exchange struct {
	Method string
	URL    string
	Sent   http.Header
	Body   []byte // as sent

	Status int
	Header http.Header
	Reply  []byte
}

// Refusal returns the refusal that the reply is, or nil. A reply that is not of
// the protocol is a refusal without a code.
func (e *Exchange) Refusal() *client.Error {
	if e.Status/100 == 2 {
		return nil
	}
	return client.ErrorOf(e.Status, e.Header, e.Reply)
}

// A Recorder is an http.RoundTripper that tells Observe of each exchange,
// before its caller learns of it. It reads bodies whole: it is not for streams.
type Recorder struct {
	Base    http.RoundTripper
	Observe func(*Exchange) // nil: nobody
}

// RoundTrip sends a request by Base.
func (r *Recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	ex := &Exchange{Method: req.Method, URL: req.URL.String(), Sent: req.Header.Clone()}
	if req.Body != nil && req.Body != http.NoBody {
		var err error
		ex.Body, err = io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(ex.Body))
	}
	resp, err := r.Base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	ex.Status, ex.Header = resp.StatusCode, resp.Header
	if ex.Reply, err = readAll(resp.Body); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(ex.Reply))
	if r.Observe != nil {
		r.Observe(ex)
	}
	return resp, nil
}

// CloseIdleConnections is for the http.Client or client.Client above.
func (r *Recorder) CloseIdleConnections() {
	if t, ok := r.Base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

func readAll(body io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, MaxReplyBytes+1))
	if err == nil && len(text) > MaxReplyBytes {
		err = fmt.Errorf("the reply is longer than %d bytes", MaxReplyBytes)
	}
	return text, err
}

// Local is a transport for servers on this machine: it uses no proxy.
func Local() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	return t
}

// AsAgent is the header of a call: of any agent's id, with any token.
func AsAgent(agentID string, token ath.Secret) http.Header {
	h := http.Header{}
	h.Set("Authorization", "Bearer "+token.Reveal())
	h.Set("X-ATH-Agent-ID", agentID)
	return h
}

// Call makes one call and returns it whole, whatever came back. body is sent as
// JSON, unless it is nil.
func Call(ctx context.Context, by http.RoundTripper, method, url string, header http.Header, body any) (*Exchange, error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, sent)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	var got *Exchange
	recorder := &Recorder{Base: by, Observe: func(ex *Exchange) { got = ex }}
	resp, err := recorder.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if got == nil {
		return nil, errors.New("nothing was recorded")
	}
	return got, nil
}
