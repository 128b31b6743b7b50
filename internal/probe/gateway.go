package probe

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// A Kind is why a public URL does not lead to athd: a closed set.
type Kind string

// The kinds. "": it does.
const (
	NobodyListens Kind = "nobody_listens"
	NoAnswer      Kind = "no_answer"
	NotToAthd     Kind = "not_to_athd" // somebody answers 503 in athd's place
	AnotherOne    Kind = "another_one" // a program that is not athd, or that has no routes to it
	OtherURL      Kind = "other_url"   // an athd of another public_url
)

// A Lead is where a public URL leads.
type Lead struct {
	Kind    Kind
	Missing string // what is missing, and where to look for its cause; "" if nothing is
	Err     error  // of NoAnswer

	Gateway api.Gateway          // what athd says of itself
	Date    time.Time            // by whoever answered; zero: not said
	Asked   time.Time            // when that was, by our clock
	TLS     *tls.ConnectionState // nil: without
}

// Gateway asks a public URL for what only its athd answers. The certificate is
// not verified: nothing secret is asked or believed, and this machine need not
// trust whom agents do. Whoever wants that verifies [Lead].TLS.
func Gateway(ctx context.Context, publicURL string) Lead {
	l := Lead{Asked: time.Now()}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxBytes, DialContext: Dial,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, publicURL+ath.DiscoveryPath, nil)
	if err != nil {
		return l.lacks(NoAnswer, err.Error())
	}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return l.lacks(NobodyListens, fmt.Sprintf("nothing listens at %s (public_url); did Envoy start? See what it wrote, such as envoy.log", publicURL))
	}
	if err != nil {
		l.Err = err
		if u := (*url.Error)(nil); errors.As(err, &u) {
			l.Err = u.Err
		}
		return l.lacks(NoAnswer, fmt.Sprintf("Envoy does not answer at %s (public_url): %v", publicURL, err))
	}
	defer resp.Body.Close()
	l.Asked = l.Asked.Add(time.Since(l.Asked) / 2)
	l.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	l.TLS = resp.TLS
	err = json.NewDecoder(io.LimitReader(resp.Body, maxDiscovery)).Decode(&l.Gateway)
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable:
		return l.lacks(NotToAthd, fmt.Sprintf("what answers at %s (public_url) does not reach athd's listen.http: does it have the configuration of athd bootstrap? See what Envoy wrote, such as envoy.log", publicURL))
	case resp.StatusCode != http.StatusOK || err != nil || l.Gateway.ID == "":
		return l.lacks(AnotherOne, fmt.Sprintf("what answers at %s (public_url) does not lead to athd (it says %d): another program, or an Envoy without the routes of athd bootstrap", publicURL, resp.StatusCode))
	case l.Gateway.ID != publicURL:
		return l.lacks(OtherURL, fmt.Sprintf("what answers at %s (public_url) leads to an athd of another public_url, %.200q", publicURL, l.Gateway.ID))
	}
	return l
}

// maxDiscovery leaves room for the scopes of thousands of providers.
const maxDiscovery = 16 << 20

func (l Lead) lacks(kind Kind, missing string) Lead {
	l.Kind, l.Missing = kind, missing
	return l
}
