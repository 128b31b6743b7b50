package config

import (
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// consentURL checks the origin of the consent pages. Where none is given they
// are on public_url.
func (l *loader) consentURL() {
	s := l.c.ConsentURL
	if s == "" {
		l.s.ConsentURL = l.s.PublicURL
		return
	}
	u, err := parsePublicURL(s)
	if err != nil {
		l.Fail(err.Error(), "consent_url")
		return
	}
	public, err := parsePublicURL(l.s.PublicURL)
	switch {
	case err != nil: // public_url has a fault of its own
	case u.Scheme == "http" && public.Scheme == "https":
		l.Fail("want https, as public_url has it", "consent_url")
	case u.Scheme == "http" && !ath.IsLoopbackHost(u.Hostname()) && !l.c.Development.AllowHTTP:
		l.Fail("http is for loopback hosts only: use https, or set development.allow_http", "consent_url")
	case s != l.s.PublicURL && hostName(u) == hostName(public):
		l.Fail("want another host name than that of public_url: cookies are shared by the ports of a name", "consent_url")
	default:
		l.s.ConsentURL = s
	}
}

// consentHostIsItsOwn wants the host of the consent pages to serve no app, and
// warns where it does because the pages have no host of their own: a script of
// the app could read the page and press its buttons.
func (l *loader) consentHostIsItsOwn(set *provider.Set) {
	consent, err := parsePublicURL(l.s.ConsentURL)
	if err != nil {
		return
	}
	name := hostName(consent)
	if l.s.ConsentURL == l.s.PublicURL {
		var there []string
		for _, p := range set.Apps() {
			if len(p.App.Hosts) == 0 || servesHost(p.App, name) {
				there = append(there, p.ID)
			}
		}
		if len(there) > 0 {
			l.warn("consent_url is not set, and public_url's host also serves %s: a script there could consent in its user's name; set consent_url to a host name of its own",
				strings.Join(there, ", "))
		}
		return
	}
	for i, app := range l.c.Apps {
		p := set.Get(appID(app))
		if p == nil || p.App == nil {
			continue
		}
		if servesHost(p.App, name) {
			l.Fail("names the host of consent_url, where only the consent pages are", "apps", i, "hosts")
		}
		if u, err := url.Parse(p.App.Audience); err == nil && hostName(u) == name {
			l.Fail("is at the host of consent_url, where only the consent pages are", "apps", i, "audience")
		}
	}
}

func appID(a provider.AppConfig) string {
	if a.AppID != "" {
		return a.AppID
	}
	return a.Tutorial.AppID
}

func servesHost(app *provider.App, name ath.Host) bool {
	for _, h := range app.Hosts {
		if h.WithoutPort() == name {
			return true
		}
	}
	return false
}

// hostName is a host without its port and the dot of the root.
func hostName(u *url.URL) ath.Host { return ath.RequestedHost(u.Host) }

// ConsentHost is the host that only the consent pages have, or none.
func (s *Settings) ConsentHost() ath.Host {
	if s.ConsentURL == s.PublicURL {
		return ath.Host{}
	}
	u, err := url.Parse(s.ConsentURL)
	if err != nil {
		return ath.Host{}
	}
	return hostName(u)
}
