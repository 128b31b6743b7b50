package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/athd/athd/ath/api"
)

const (
	maxReplyBytes   = 1 << 20  // of the handshake
	maxRefusalBytes = 64 << 10 // of a refused call
)

// ask sends one request of the handshake and decodes its reply into v. body is
// sent as JSON, unless it is nil. A refusal is an *[Error].
func (c *Client) ask(ctx context.Context, method, path, authorization string, body, v any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, sent)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil { // as http.Client says it
		return fmt.Errorf("client: %w", &url.Error{Op: method, URL: c.server + path, Err: err})
	}
	defer resp.Body.Close()
	reply, err := readAtMost(resp.Body, maxReplyBytes)
	if err != nil {
		return fmt.Errorf("client: %s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return errorOf(resp.StatusCode, resp.Header, reply, c.now())
	}
	if err := json.Unmarshal(reply, v); err != nil {
		// Not with what encoding/json found: it may be a secret.
		return fmt.Errorf("client: %s %s: the reply is not the JSON object that was expected", method, path)
	}
	return nil
}

func readAtMost(body io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("the reply is longer than %d bytes", limit)
	}
	return text, err
}

// attest signs for this server: "" is its URL, else an endpoint's path.
func (c *Client) attest(path string) (api.Secret, error) {
	if c.agent == nil {
		return api.Secret{}, errors.New("client: no agent is configured")
	}
	signed, err := c.agent.Attest(c.server+path, c.now())
	return api.OpenSecret(signed), err
}
