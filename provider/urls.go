package provider

import (
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// url checks that s is an absolute URL as R-3 checks an agent's: nothing that
// parsers repair or ignore, no user information, no fragment.
func (c *check) url(name, s string, allowHTTP bool) *url.URL {
	u, message := parseURL(s)
	switch {
	case message != "":
	case u.Scheme == "http" && !allowHTTP:
		message = "want an https URL"
	case u.Scheme != "http" && u.Scheme != "https":
		message = "want an https URL"
	}
	if message != "" {
		c.fail(name, message)
		return nil
	}
	return u
}

func parseURL(s string) (u *url.URL, message string) {
	const malformed = "not an absolute URL"
	if len(s) > 2048 {
		return nil, "longer than 2048 bytes"
	}
	if !ath.ValidURLBytes(s) {
		return nil, malformed
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || !strings.HasPrefix(s, u.Scheme+"://"):
		return nil, malformed
	case u.User != nil:
		return nil, "want a URL without user information"
	case strings.Contains(s, "#"):
		return nil, "want a URL without a fragment"
	}
	return u, ""
}

// endpoint is a URL of the OAuth server. Its own query stays, but must not
// hold parameters of the protocol.
func (c *check) endpoint(name, s string, reserved []string) *url.URL {
	u := c.url(name, s, c.opt.AllowHTTP)
	if u == nil {
		return nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		c.fail(name, "the query is malformed")
	}
	for key := range query {
		if slices.Contains(reserved, key) {
			c.fail(name, "the query contains a parameter of the protocol")
		}
	}
	return u
}

// baseURL is where calls go: scheme, host and a base path in canonical form,
// without a trailing slash. nil if s is empty.
func (c *check) baseURL(name, s string) *url.URL {
	if s == "" {
		return nil
	}
	return c.base(name, s, c.opt.AllowHTTP)
}

// HTTP2 is the scheme of an app's upstream that speaks HTTP/2 without TLS, as
// gRPC servers do.
const HTTP2 = "h2c"

// upstream is a baseURL on the operator's own network, often the loopback
// interface: http is normal there, and [HTTP2]. It also returns the URL as which
// users agreed to it, whatever the protocol.
func (c *check) upstream(name, s string) (base, upstream *url.URL) {
	rest, http2 := strings.CutPrefix(s, HTTP2+"://")
	if http2 {
		s = "http://" + rest
	}
	base = c.base(name, s, true)
	if base == nil || !http2 {
		return base, base
	}
	u := *base
	u.Scheme = HTTP2
	return base, &u
}

func (c *check) base(name, s string, allowHTTP bool) *url.URL {
	u := c.url(name, s, allowHTTP)
	if u == nil {
		return nil
	}
	if u.RawQuery != "" || u.ForceQuery {
		c.fail(name, "want a URL without a query")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if path != "" && !canonicalPath(path, 0) {
		c.fail(name, "the path is not in canonical form")
		return nil
	}
	base := origin(u)
	base.Path, _ = url.PathUnescape(path)
	base.RawPath = path
	if base.EscapedPath() == base.Path {
		base.RawPath = ""
	}
	return base
}

// published is a URL that agents see. Like public_url it may be http on a
// loopback host, for trying out.
func (c *check) published(name, s string) *url.URL {
	u := c.url(name, s, true)
	if u == nil {
		return nil
	}
	if u.Scheme == "http" && !c.opt.AllowHTTP && !ath.IsLoopbackHost(u.Hostname()) {
		c.fail(name, "want an https URL")
	}
	if u.RawQuery != "" || u.ForceQuery {
		c.fail(name, "want a URL without a query")
	}
	return u
}

// prefix returns a path prefix without a trailing slash.
func (c *check) prefix(name, s string) string {
	if s == "" || s == "/" {
		return ""
	}
	if s = strings.TrimSuffix(s, "/"); !canonicalPath(s, 0) {
		c.fail(name, "want a path in canonical form that starts with /")
	}
	return s
}

func origin(u *url.URL) *url.URL { return &url.URL{Scheme: u.Scheme, Host: u.Host} }
