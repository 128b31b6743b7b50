package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
)

// publicURL checks the name by which agents and browsers know us. It is an
// audience and gateway_id (D-1), so that it is compared byte for byte.
func (l *loader) publicURL() {
	s := l.c.PublicURL
	if !l.Required(s, "public_url") {
		return
	}
	u, err := parsePublicURL(s)
	switch {
	case err != nil:
		l.Fail(err.Error(), "public_url")
		return
	case u.Scheme == "http" && !ath.IsLoopbackHost(u.Hostname()) && !l.c.Development.AllowHTTP:
		l.Fail("http is for loopback hosts only: use https, or set development.allow_http", "public_url")
		return
	}
	l.s.PublicURL = s
}

func parsePublicURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" || u.Hostname() == "" || !ath.IsVisible(s):
		return nil, errors.New("want an absolute URL, such as https://gateway.example.com")
	case u.User != nil:
		return nil, errors.New("want a URL without user information")
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return nil, errors.New("want a URL of scheme and host only: no path, no trailing slash, no query")
	case s != u.Scheme+"://"+u.Host || strings.ToLower(u.Host) != u.Host:
		return nil, errors.New("want scheme and host in lower case, without escapes")
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && checkHostPort(u.Host) != nil || u.Port() == "0":
		return nil, errors.New("want a port between 1 and 65535, or none")
	}
	if _, err := ath.HostOf(u); err != nil {
		return nil, fmt.Errorf("want a host that everybody reads alike: %w", err)
	}
	return u, nil
}

// onLoopback reports whether the public URL names this very machine.
func (l *loader) onLoopback() bool {
	u, err := parsePublicURL(l.c.PublicURL)
	return err == nil && ath.IsLoopbackHost(u.Hostname())
}

// developmentOptions: each relaxes one rule, is off by default and loud.
func (l *loader) developmentOptions() {
	for i, app := range l.c.Apps {
		if app.SkipsAttestation() && !l.s.Development.SkipAttestation {
			l.s.Development.SkipAttestation = true
			l.warn("apps[%d] skips the verification of attestations: that holds for every agent", i)
		}
	}
	d := l.s.Development
	if d.AcceptAnyCode && !l.onLoopback() {
		l.Fail("needs a public_url on a loopback host (T-1)", "development", "accept_any_code")
	}
	for _, option := range []struct {
		on   bool
		text string
	}{
		{d.SkipAttestation, "skip_attestation_verification is on: anyone can speak for any agent"},
		{d.AcceptAnyCode, "accept_any_code is on: a token needs no code from the user's browser"},
		{d.AllowHTTP, "allow_http is on: identities, tokens and codes may travel in the clear"},
		{d.AllowPrivateHosts, "allow_private_hosts is on: an agent_id, or a provider that is added while athd runs, may point into the private network"},
	} {
		if option.on {
			l.warn("development.%s", option.text)
		}
	}
}
