package client

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

const agentHeader = "X-ATH-Agent-ID"

// A Transport makes calls as the agent, with one ATH token: it is an
// [http.RoundTripper].
type Transport struct {
	client *Client
	token  ath.Secret
	api    *url.URL
}

// Transport returns what makes calls with a token. Its requests may go to the
// scheme and host of api alone ([Discovery.API] knows it), also after a
// redirect and by their Host: nobody else gets the token.
//
// A refusal by the ATH server is an *[Error], which http.Client wraps: use
// [CodeOf]. Whatever the API answers comes back as it is, and so does a refusal
// that the API made up: only with X-ATH-Decision-ID, which the server lets
// through from nobody else, is it the server's (P-9).
func (c *Client) Transport(token ath.Secret, api string) (*Transport, error) {
	u, err := parseAPI(api, c.insecure)
	if err != nil {
		return nil, err
	}
	if token.IsZero() {
		return nil, errors.New("client: the token is empty")
	}
	if c.agent == nil {
		return nil, errors.New("client: no agent is configured")
	}
	return &Transport{client: c, token: token, api: u}, nil
}

// RoundTrip sends one request, with Authorization and X-ATH-Agent-ID (P-1,
// P-2) in place of what it has under these names.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	host := cmp.Or(req.Host, req.URL.Host) // a proxy, and a server of several hosts, goes by Host
	if req.URL.Opaque != "" {              // or by this, which may name any
		host = ""
	}
	if req.URL.Scheme != t.api.Scheme || !strings.EqualFold(req.URL.Host, t.api.Host) || !strings.EqualFold(host, t.api.Host) || req.URL.User != nil {
		closeBody(req)
		return nil, &OtherHostError{API: t.api.String(), URL: req.URL.Scheme + "://" + host}
	}
	sent := req.Clone(req.Context())
	for name := range sent.Header { // whatever its spelling
		if strings.EqualFold(name, "Authorization") || strings.EqualFold(name, agentHeader) {
			delete(sent.Header, name)
		}
	}
	sent.Header.Set("Authorization", "Bearer "+t.token.Reveal())
	sent.Header.Set(agentHeader, t.client.agent.id)
	resp, err := t.client.http.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	// An empty one is what is left of an API's in a mesh.
	if ids := resp.Header.Values(decisionHeader); resp.StatusCode < http.StatusBadRequest || len(ids) != 1 || ids[0] == "" {
		return resp, nil
	}
	if req.Method == http.MethodHead { // the reply has no body: status and id are all
		resp.Body.Close()
		return nil, errorOf(resp.StatusCode, resp.Header, nil, t.client.now())
	}
	return t.client.refusalOf(resp)
}

// refusalOf reads a reply that the server says is its own.
func (c *Client) refusalOf(resp *http.Response) (*http.Response, error) {
	late := time.AfterFunc(c.timeout, func() { resp.Body.Close() })
	defer late.Stop()
	defer resp.Body.Close()
	body, err := readAtMost(resp.Body, maxRefusalBytes)
	if err != nil {
		return nil, fmt.Errorf("client: a refusal: %w", err)
	}
	e := errorOf(resp.StatusCode, resp.Header, body, c.now())
	if !e.own {
		resp.Body = io.NopCloser(bytes.NewReader(body)) // not as the server refuses: let the caller see
		return resp, nil
	}
	return nil, e
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// An OtherHostError is that a call would have taken the token to another host
// than its API's. It was not made.
type OtherHostError struct {
	API string
	URL string // scheme and host
}

// Error names both.
func (e *OtherHostError) Error() string {
	return fmt.Sprintf("client: the token is for %s, and would go to %.200q", e.API, e.URL)
}

// CloseIdleConnections closes connections that nobody uses.
func (t *Transport) CloseIdleConnections() { t.client.CloseIdleConnections() }
