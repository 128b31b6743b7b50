package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
)

const maxBody = 1 << 20 // bytes of a reply

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

// A Refusal is a reply that is not a success, as an error (E-1).
type Refusal struct {
	Status  int
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Details map[string]any `json:"details"`
	// RetryAfter is what the header of that name says, in seconds or as a date.
	RetryAfter string `json:"-"`
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused with %d %s: %s", r.Status, r.Code, r.Message)
}

// Refusal returns the refusal that the reply is, or nil. A reply that is not
// JSON is a refusal without a code.
func (e *Exchange) Refusal() *Refusal {
	if e.Status/100 == 2 {
		return nil
	}
	r := &Refusal{}
	_ = json.Unmarshal(e.Reply, r) // without a code then, which nobody takes for one
	r.Status, r.RetryAfter = e.Status, e.Header.Get("Retry-After")
	return r
}

// sendJSON makes one request. body is sent as JSON, unless it is nil.
func (c *Client) sendJSON(ctx context.Context, method, url string, body any, header http.Header) (*Exchange, error) {
	if body == nil {
		return c.send(ctx, method, url, nil, header)
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	sent := http.Header{"Content-Type": {"application/json"}}
	maps.Copy(sent, header)
	return c.send(ctx, method, url, encoded, sent)
}

// send makes one request, with a body as it stands.
func (c *Client) send(ctx context.Context, method, url string, body []byte, header http.Header) (*Exchange, error) {
	ex := &Exchange{Method: method, URL: url, Sent: http.Header{}, Body: body}
	maps.Copy(ex.Sent, header)
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(ex.Body))
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	req.Header = ex.Sent
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	defer resp.Body.Close()
	ex.Status, ex.Header = resp.StatusCode, resp.Header
	ex.Reply, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("agent: %s %s: %w", method, url, err)
	}
	if len(ex.Reply) > maxBody {
		return nil, fmt.Errorf("agent: %s %s: the reply is longer than %d bytes", method, url, maxBody)
	}
	if c.Observe != nil {
		c.Observe(ex)
	}
	return ex, nil
}

// ask sends and decodes the reply into v. A refusal is returned as *[Refusal].
func (c *Client) ask(ctx context.Context, method, url string, body, v any) error {
	return c.askWith(ctx, method, url, body, nil, v)
}

func (c *Client) askWith(ctx context.Context, method, url string, body any, header http.Header, v any) error {
	ex, err := c.sendJSON(ctx, method, url, body, header)
	if err != nil {
		return err
	}
	if refusal := ex.Refusal(); refusal != nil {
		return refusal
	}
	if err := json.Unmarshal(ex.Reply, v); err != nil {
		return fmt.Errorf("agent: %s %s: the reply is not what was expected: %w", method, url, err)
	}
	return nil
}
