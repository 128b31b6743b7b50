package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const maxReplyBytes = 64 << 10

// An ExchangeError says why a provider's server gave no tokens. Its text
// holds no code, verifier, token or secret, nothing of a body and no URL.
type ExchangeError struct {
	Provider  string // id
	Code      string // the OAuth error code (RFC 6749, section 5.2), if a well-formed one was sent
	Status    int    // HTTP; 0: no reply
	Temporary bool   // the network, a timeout, 429 or 5xx: another attempt could succeed
	message   string
	cause     error
}

// Error returns the text for a log.
func (e *ExchangeError) Error() string {
	s := fmt.Sprintf("provider %s: %s", e.Provider, e.message)
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	return s
}

// Unwrap returns context.Canceled or context.DeadlineExceeded, or nil.
func (e *ExchangeError) Unwrap() error { return e.cause }

func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    5 * time.Second,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // so that the limit counts what is read
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
	}
}

// A call is one request to a provider's server. It bounds the reply and
// remembers it.
type call struct {
	provider, endpoint string
	transport          http.RoundTripper

	status      int
	contentType string
	body        []byte
}

var errTooLarge = errors.New("the reply is larger than 64 KiB")

// token asks the token endpoint (RFC 6749, section 3.2) and returns its reply,
// which does not say that there was an error.
func (c *call) token(ctx context.Context, p *Provider, form url.Values) (reply, error) {
	for name, value := range p.ExtraToken {
		form.Set(name, value)
	}
	switch p.AuthMethod {
	case ClientSecretBasic:
	case NoClientAuth:
		form.Set("client_id", p.ClientID)
	default:
		form.Set("client_id", p.ClientID)
		form.Set("client_secret", p.ClientSecret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.TokenURL.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, c.fault("cannot be asked")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.AuthMethod == ClientSecretBasic {
		req.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.ClientSecret.Reveal()))
	}
	if err := c.do(req); err != nil {
		return nil, err
	}
	return c.reply()
}

// do sends the request once, and follows no redirect: it would carry a code or
// a token to where nobody configured. A reply with any status is no error.
func (c *call) do(req *http.Request) error {
	res, body, err := fetch(c.transport, req)
	if res != nil {
		c.status, c.contentType = res.StatusCode, res.Header.Get("Content-Type")
	}
	if err != nil {
		return c.failed(err)
	}
	c.body = body
	return nil
}

// reply reads the body. An error may come with any status, 200 too.
func (c *call) reply() (reply, error) {
	r, ok := readReply(c.contentType, c.body)
	switch code, refused := r.refusal(); {
	case refused || c.status < 200 || c.status > 299:
		e := c.refused()
		if validCode(code) {
			e.Code = code
		}
		return nil, e
	case !ok:
		return nil, c.fault("the reply is malformed")
	}
	return r, nil
}

// fetch sends a request and reads the reply whole, up to a limit. After an
// error the response is there if its head arrived; its body is closed.
func fetch(transport http.RoundTripper, req *http.Request) (*http.Response, []byte, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Accept", "application/json") // else GitHub answers with a form
	req.Header.Set("User-Agent", "athd")
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReplyBytes+1))
	if err == nil && len(body) > maxReplyBytes {
		err = errTooLarge
	}
	if err != nil {
		return res, nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, body, nil
}

func (c *call) fault(message string) *ExchangeError {
	return &ExchangeError{Provider: c.provider, Status: c.status, message: c.endpoint + ": " + message}
}

// failed translates what went wrong. Texts of other packages may quote URLs
// and bytes of the reply; only those of dialling are passed on.
func (c *call) failed(err error) *ExchangeError {
	if c.status >= 300 {
		return c.refused()
	}
	if errors.Is(err, errTooLarge) {
		return c.fault(errTooLarge.Error())
	}
	e := c.fault("no connection, or no HTTP reply")
	e.Temporary = true
	if ctxErr := contextError(err); ctxErr != nil {
		e.message, e.cause = c.endpoint+": no answer in time", ctxErr
	} else if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		e.message = c.endpoint + ": " + dial.Error()
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		e.message, e.Temporary = c.endpoint+": the TLS certificate is not trusted", false
	}
	return e
}

func (c *call) refused() *ExchangeError {
	e := c.fault("refused")
	e.Temporary = c.status >= 500 || c.status == http.StatusTooManyRequests
	return e
}

func contextError(err error) error {
	for _, target := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, target) {
			return target
		}
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return context.DeadlineExceeded
	}
	return nil
}

// validCode bounds what of a provider's words is passed on.
func validCode(code string) bool {
	for i := range len(code) {
		if c := code[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return 1 <= len(code) && len(code) <= 64
}
