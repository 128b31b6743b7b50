package metadata

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
)

const (
	// Timeout bounds a fetch, all places together.
	Timeout = 5 * time.Second
	// MaxBytes is the largest document that is read.
	MaxBytes = 64 << 10
)

// Places are the URLs at which an issuer's metadata may be, in the order in
// which they are tried: OpenID's, RFC 8414's (section 3.1: before the issuer's
// path), and where servers put it that read OpenID's rule into RFC 8414. An
// error says why this can be no issuer.
func Places(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "" || len(issuer) > maxURLBytes || !ath.IsVisible(issuer):
		return nil, errors.New("want an absolute URL, such as https://login.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#"):
		return nil, errors.New("want a URL without user information, query and fragment")
	case strings.Contains(u.Path, "/.well-known/"):
		return nil, errors.New("want the issuer, and not the URL of its metadata")
	}
	const oauth = "/.well-known/oauth-authorization-server"
	base, path := strings.TrimSuffix(issuer, "/"), strings.TrimSuffix(u.EscapedPath(), "/")
	return slices.Compact([]string{
		base + "/.well-known/openid-configuration",
		u.Scheme + "://" + u.Host + oauth + path,
		base + oauth,
	}), nil
}

// Fetch asks each of the [Places], and returns the first document that calls
// itself by exactly this issuer. It follows no redirect. Whether http is
// enough, and which addresses may be connected to, the client decides: it
// is egress.NewClient where a stranger may have named the issuer. The error is
// an [*Error], of the place that came closest.
func Fetch(ctx context.Context, client *http.Client, issuer string) (*Document, error) {
	places, err := Places(issuer)
	if err != nil {
		return nil, &Error{Reason: NoIssuer, Issuer: issuer, cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	ask := *client
	ask.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var closest *Error
	for _, place := range places {
		d, failed := fetchAt(ctx, &ask, place)
		if failed == nil && d.Issuer == issuer {
			return d, nil
		}
		if failed == nil {
			failed = &Error{Reason: OtherIssuer, Got: d.Issuer}
		}
		failed.Issuer, failed.Place = issuer, place
		if closest == nil || closeness(failed.Reason) > closeness(closest.Reason) {
			closest = failed
		}
		if closest.Reason == Refused || closest.Reason == Untrusted || ctx.Err() != nil {
			break // the other places are at the same host
		}
	}
	return nil, closest
}

// closeness orders the answers of several places by how much they explain.
func closeness(r Reason) int {
	return slices.Index([]Reason{NotFound, Unreachable, Malformed, OtherIssuer, Untrusted, Refused}, r)
}

func fetchAt(ctx context.Context, client *http.Client, place string) (*Document, *Error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, &Error{Reason: NoIssuer, cause: errors.New("cannot be asked for")}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "athd")
	ath.AskPlain(req.Header)
	res, err := client.Do(req)
	if err != nil {
		return nil, transport(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return nil, &Error{Reason: NotFound, cause: fmt.Errorf("HTTP status %d leads to %s, and metadata is taken from the issuer itself only: is that the issuer?", res.StatusCode, quoted(res.Header.Get("Location")))}
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout:
		return nil, &Error{Reason: Unreachable, cause: fmt.Errorf("HTTP status %d", res.StatusCode)}
	case res.StatusCode != http.StatusOK:
		return nil, &Error{Reason: NotFound, cause: fmt.Errorf("HTTP status %d", res.StatusCode)}
	}
	body, err := ath.ReadBody(res, MaxBytes)
	if errors.Is(err, ath.ErrBodyTooLarge) {
		return nil, &Error{Reason: Malformed, cause: fmt.Errorf("the document is larger than %d bytes", MaxBytes)}
	}
	if err != nil {
		return nil, transport(err)
	}
	d, err := Parse(body)
	if err != nil {
		return nil, &Error{Reason: Malformed, cause: err}
	}
	return d, nil
}

// transport classifies what keeps a document from being read.
func transport(err error) *Error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which is told already
	}
	reason := Unreachable
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		reason = Untrusted
	} else if errors.Is(err, egress.ErrAddress) {
		reason = Refused
	} else if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v: %w", Timeout, err)
	} else if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		err = fmt.Errorf("there is no host %s: %w", quoted(dns.Name), err)
	}
	return &Error{Reason: reason, cause: err}
}
