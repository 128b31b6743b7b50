package config

import (
	"slices"
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
	case s != l.s.PublicURL && ath.RequestedHost(u.Host) == ath.RequestedHost(public.Host):
		l.Fail("want another host name than that of public_url: cookies are shared by the ports of a name", "consent_url")
	default:
		l.s.ConsentURL = s
	}
}

// consentHostIsItsOwn wants the host of the consent pages to serve no app, and
// warns where it does because the pages have no host of their own: a script of
// the app could read the page and press its buttons.
func (l *loader) consentHostIsItsOwn(set *provider.Set) {
	name := ath.RequestedHostOf(l.s.ConsentURL)
	if name.IsZero() {
		return
	}
	if l.s.ConsentURL == l.s.PublicURL {
		var there []string
		for _, p := range set.Apps() {
			if len(p.App.Hosts) == 0 || slices.Contains(p.App.RoutedHosts(), name) {
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
		if slices.Contains(p.App.RoutedHosts(), name) {
			l.Fail("names the host of consent_url, where only the consent pages are", "apps", i, "hosts")
		}
		if ath.RequestedHostOf(p.App.Audience) == name {
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

// ConsentHost is the host that only the consent pages have, or none.
func (s *Settings) ConsentHost() ath.Host {
	if s.ConsentURL == s.PublicURL {
		return ath.Host{}
	}
	return ath.RequestedHostOf(s.ConsentURL)
}
