package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// cors reads the origins whose scripts may call from browsers. They are
// compared byte for byte with what browsers send (RFC 6454, section 6.2), and
// the consent pages are for no script at all.
func (l *loader) cors() {
	for i, s := range l.c.CORS.AllowedOrigins {
		at := []any{"cors", "allowed_origins", i}
		if strings.Contains(s, "*") {
			l.Fail("want each origin by its name: no *", at...)
			continue
		}
		u, err := parsePublicURL(s)
		switch {
		case err != nil:
			l.Fail(err.Error(), at...)
		case u.Scheme == "http" && !ath.IsLoopbackHost(u.Hostname()) && !l.c.Development.AllowHTTP:
			l.Fail("http is for loopback hosts only: use https, or set development.allow_http", at...)
		case u.Port() != "" && u.Port() == defaultPort(u):
			l.Fail("want no port where it is the scheme's own: browsers leave it out", at...)
		case !l.s.ConsentHost().IsZero() && ath.RequestedHost(u.Host) == l.s.ConsentHost():
			l.Fail("is the host of consent_url, from where nothing is called", at...)
		case slices.Contains(l.s.Envoy.AllowedOrigins, s):
			l.Fail("is there twice", at...)
		default:
			l.s.Envoy.AllowedOrigins = append(l.s.Envoy.AllowedOrigins, s)
		}
	}
}

func defaultPort(u *url.URL) string {
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
