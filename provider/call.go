package provider

import (
	"bytes"
	"cmp"
	"compress/gzip"
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

	"github.com/athd/athd/ath"
)

// maxReplyBytes leaves room for an access, a refresh and an ID token of
// maxTokenBytes each, and for what JSON may add.
const maxReplyBytes = 256 << 10

// An ExchangeError says why a provider's server gave no tokens. Its text
// contains no code, verifier, token or secret, nothing of a body and no URL.
type ExchangeError struct {
	Provider  string // id
	Code      string // the OAuth error code (RFC 6749, section 5.2), if a well-formed one was sent
	Status    int    // HTTP; 0: no reply
	Temporary bool   // the network, a timeout, 429 or 5xx: another attempt could succeed
	Unsent    bool   // of a refresh: nothing of the request has left
	message   string
	detail    string // what differs from case to case, for operators only
	cause     error
}

// Error returns the text for a log.
func (e *ExchangeError) Error() string { return "provider " + e.Provider + ": " + e.Said() }

// Said describes for operators what went wrong: the error code or whatever else
// of the server's reply can be shown.
func (e *ExchangeError) Said() string {
	s := e.Brief()
	if e.Code != "" {
		s = e.message + ": " + e.Code
	}
	if e.detail != "" {
		s += ": " + e.detail
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	return s
}

// Brief is what an agent may see: the server's error code or, without one,
// what athd found, in a fixed sentence.
func (e *ExchangeError) Brief() string { return cmp.Or(e.Code, e.message) }

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

	status int
	body   []byte
}

// token asks the token endpoint (RFC 6749, section 3.2) and returns its reply,
// which does not say that there was an error.
func (c *call) token(ctx context.Context, p *Provider, form url.Values, method AuthMethod) (reply, error) {
	if p.Resource != "" {
		form.Set("resource", p.Resource)
	}
	for name, value := range p.ExtraToken {
		form.Set(name, value)
	}
	p.identify(form, method)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.TokenURL.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, c.fault("cannot be asked")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	p.sign(req, method)
	if err := c.do(req); err != nil {
		return nil, err
	}
	r, err := c.reply()
	if e, ok := errors.AsType[*ExchangeError](err); ok && echoes(e.Code, form, p) {
		e.Code = ""
	}
	return r, err
}

// identify says in a form who asks, if that is where the server wants it
// (RFC 6749, section 2.3.1).
func (p *Provider) identify(form url.Values, method AuthMethod) {
	switch method {
	case ClientSecretBasic:
	case NoClientAuth:
		form.Set("client_id", p.ClientID)
	default:
		form.Set("client_id", p.ClientID)
		form.Set("client_secret", p.ClientSecret.Reveal())
	}
}

// sign says it in the header, if that is where.
func (p *Provider) sign(req *http.Request, method AuthMethod) {
	if method == ClientSecretBasic {
		req.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.ClientSecret.Reveal()))
	}
}

// echoes reports whether an error code is something that was sent and that no
// log may hold.
func echoes(code string, form url.Values, p *Provider) bool {
	if len(code) < 8 {
		return false
	}
	for _, secret := range []string{form.Get("code"), form.Get("code_verifier"), form.Get("refresh_token"), form.Get("token"), p.ClientSecret.Reveal()} {
		if strings.Contains(secret, code) || secret != "" && strings.Contains(code, secret) {
			return true
		}
	}
	return false
}

// do sends the request once, and follows no redirect: it would carry a code or
// a token to a URL that is not configured. A reply with any status is no error.
func (c *call) do(req *http.Request) error {
	res, body, err := fetch(c.transport, req) //nolint:bodyclose // fetch has read and closed it
	if res != nil {
		c.status = res.StatusCode
	}
	if err != nil {
		return c.failed(err)
	}
	c.body = body
	return nil
}

// reply reads the body. An error may come with any status, 200 too.
func (c *call) reply() (reply, error) {
	r, ok := readReply(c.body)
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
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json") // else GitHub answers with a form
	}
	req.Header.Set("User-Agent", "athd")
	ath.AskPlain(req.Header)
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := ath.ReadBody(res, maxReplyBytes)
	if err != nil {
		return res, nil, err
	}
	res.Header.Del("Content-Encoding") // it was read as what it says
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
	if errors.Is(err, ath.ErrBodyTooLarge) {
		return c.fault(fmt.Sprintf("the reply is larger than %d KiB", maxReplyBytes>>10))
	}
	if _, ok := errors.AsType[*ath.BodyEncodingError](err); ok || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		e := c.fault("the reply is in a content coding that cannot be read")
		e.detail = err.Error()
		return e
	}
	e := c.fault("no connection, or no HTTP reply")
	e.Temporary = true
	if ctxErr := contextError(err); ctxErr != nil {
		e.message, e.cause = c.endpoint+": no answer in time", ctxErr
	} else if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		e.message, e.detail = c.endpoint+": no connection", dial.Error()
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

// validCode bounds which error codes of a provider are passed on. Some have codes in
// capitals, with digits, dots or hyphens.
func validCode(code string) bool {
	for i := range len(code) {
		c := code[i] | 0x20
		if (c < 'a' || c > 'z') && (code[i] < '0' || code[i] > '9') && strings.IndexByte("_.-", code[i]) < 0 {
			return false
		}
	}
	return 1 <= len(code) && len(code) <= 64
}
