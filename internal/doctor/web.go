package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
)

// A web asks servers whether they are there, each URL once. It sends no
// credentials and no query, follows no redirect, and reads no body.
type web struct {
	client *http.Client
	mu     sync.Mutex
	asked  map[string]func() answer
	free   chan struct{} // bounds what is asked at the same time
}

// An answer is what a server says to HEAD.
type answer struct {
	status int
	date   time.Time // by its clock; zero: not said
	asked  time.Time // when that was, by ours
	tls    *tls.ConnectionState
	err    error
}

const (
	answerWithin = 5 * time.Second
	atOnce       = 16
)

func newWeb() *web {
	return &web{client: newHTTPClient(nil), asked: map[string]func() answer{}, free: make(chan struct{}, atOnce)}
}

// newHTTPClient goes the way on which athd asks OAuth servers: by the proxy of
// the environment, with the system's CAs where roots is nil.
func newHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:       answerWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    answerWithin,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// head asks for a URL without its query.
func (w *web) head(ctx context.Context, u *url.URL, client *http.Client) answer {
	plain := *u
	plain.RawQuery, plain.ForceQuery, plain.Fragment, plain.User = "", false, "", nil
	key := fmt.Sprintf("%p %s", client, &plain)
	w.mu.Lock()
	once, ok := w.asked[key]
	if !ok {
		once = sync.OnceValue(func() answer {
			w.free <- struct{}{}
			defer func() { <-w.free }()
			return headOnce(ctx, plain.String(), client)
		})
		w.asked[key] = once
	}
	w.mu.Unlock()
	return once()
}

func headOnce(ctx context.Context, u string, client *http.Client) answer {
	a := answer{asked: time.Now()}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u, nil)
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("User-Agent", "athctl-doctor")
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	resp.Body.Close()
	a.asked = a.asked.Add(time.Since(a.asked) / 2)
	a.status, a.tls = resp.StatusCode, resp.TLS
	a.date, _ = http.ParseTime(resp.Header.Get("Date"))
	return a
}

func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// poolOf reads CAs; nil: the system's.
func poolOf(file string) *x509.CertPool {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil
	}
	return pool
}

// whyNot says why a host does not answer, and what to do. key is what names the
// host in a configuration, ca how whoever asks in earnest comes to trust CAs.
func whyNot(err error, host, key, ca string) (cause, cure string) {
	var (
		lookup   *net.DNSError
		verify   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		network  net.Error
		hostname x509.HostnameError
	)
	switch {
	case errors.As(err, &lookup):
		return "the name " + host + " does not resolve here", "correct " + key + "; or give the name a DNS record: getent hosts NAME shows what this machine finds"
	case errors.As(err, &hostname):
		return "the certificate of " + host + " is for another name", "correct " + key + " to a name that is in the certificate"
	case errors.As(err, &verify):
		return fmt.Sprintf("the certificate of %s does not hold: %v", host, verify.Err), ca
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return host + " does not speak TLS", "correct " + key + ": http, or another port"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at " + host, "start the server there; or correct " + key
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return host + " does not answer in time", "see whether a firewall is between, or a proxy is needed (HTTPS_PROXY in athd's environment): curl -I https://" + host
	}
	return fmt.Sprintf("%s cannot be asked: %v", host, err), "curl -I https://" + host + " shows what this machine sees; or correct " + key
}

// soon is how long before its end a certificate is warned of.
const soon = 14 * 24 * time.Hour

// expires says that a certificate ends soon.
func expires(state *tls.ConnectionState, now time.Time) (cause string, is bool) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return "", false
	}
	end := state.PeerCertificates[0].NotAfter
	if end.Sub(now) > soon {
		return "", false
	}
	return "the certificate ends at " + end.UTC().Format(time.RFC3339), true
}
