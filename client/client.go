package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
)

const (
	defaultTimeout = 30 * time.Second
	maxHeaderBytes = 64 << 10
)

// A Config says which agent speaks to which server, and how.
type Config struct {
	// Server is the server's public URL, as its discovery names it: attestations
	// are for that very text. It has no path.
	Server string
	// Agent is who speaks. Without one a client can only discover.
	Agent *Identity
	// Credentials are those of an earlier registration, if there is one.
	Credentials Credentials
	// Transport sends the requests; nil means one like Go's own with less room for
	// headers. It must follow no redirect: whoever sends one must not get the
	// agent's credentials. For what an http.Client brings, take its Transport.
	Transport http.RoundTripper
	// Timeout is for one request of the handshake, its reply included; 0 means
	// 30 s. Calls of APIs are bounded by their own client and context.
	Timeout time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// InsecureHTTP allows a server, or an API, with an http URL on a host that is
	// not this one: secrets can be read on their way.
	InsecureHTTP bool
}

// Credentials are what a registration gives to the agent.
type Credentials struct {
	ClientID string
	Secret   ath.Secret
}

// A Client takes one agent through the handshake with one server. It may be
// used by several goroutines.
type Client struct {
	server   string
	agent    *Identity
	http     http.RoundTripper
	timeout  time.Duration
	now      func() time.Time
	insecure bool

	mu          sync.Mutex
	credentials Credentials
}

// New checks the configuration and returns a client. It asks nobody yet.
func New(c Config) (*Client, error) {
	server, err := ParseServer(c.Server, c.InsecureHTTP)
	if err != nil {
		return nil, err
	}
	if c.Timeout < 0 {
		return nil, errors.New("client: the timeout is negative")
	}
	n := &Client{
		server: server, agent: c.Agent, credentials: c.Credentials,
		http: c.Transport, timeout: c.Timeout, now: c.Now, insecure: c.InsecureHTTP,
	}
	if n.timeout == 0 {
		n.timeout = defaultTimeout
	}
	if n.now == nil {
		n.now = time.Now
	}
	if n.http == nil {
		n.http = defaultTransport()
	}
	return n, nil
}

func defaultTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = maxHeaderBytes
	return t
}

// ErrInsecureHTTP says that secrets could be read on their way.
var ErrInsecureHTTP = errors.New("client: the server's URL is http, and its host is not this one")

// ParseServer checks the URL of a server and returns its scheme and host. http
// is for this machine, if it is not asked for by insecureHTTP: else the error
// is [ErrInsecureHTTP].
func ParseServer(server string, insecureHTTP bool) (string, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", errors.New("client: the server must be a URL such as https://gateway.example.com, without a path")
	case u.Scheme == "http" && !insecureHTTP && !ath.IsLoopbackHost(u.Hostname()):
		return "", ErrInsecureHTTP
	case u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("client: the server's URL must be https or http")
	}
	return u.Scheme + "://" + u.Host, nil
}

// parseAPI checks a URL to which an ATH token may be sent.
func parseAPI(api string, insecureHTTP bool) (*url.URL, error) {
	u, err := url.Parse(api)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("client: the API's URL is not a URL without query")
	case u.Scheme == "https", u.Scheme == "http" && (insecureHTTP || ath.IsLoopbackHost(u.Hostname())):
		return u, nil
	}
	return nil, fmt.Errorf("client: the API's URL is not https: %w", ErrInsecureHTTP)
}

// Server is the server's URL: scheme and host.
func (c *Client) Server() string { return c.server }

// Agent is who speaks.
func (c *Client) Agent() *Identity { return c.agent }

// Callback is the redirect URI that clients in the field register: the
// server's own page, which shows the code to the user (Z-1).
func (c *Client) Callback() string { return c.server + ath.CallbackPath }

// Credentials are the agent's, since it registered. Keep them: the secret is
// shown once.
func (c *Client) Credentials() Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.credentials
}

func (c *Client) setCredentials(to Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credentials = to
}

// CloseIdleConnections closes connections that nobody uses.
func (c *Client) CloseIdleConnections() {
	if t, ok := c.http.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
