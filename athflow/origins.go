package athflow

import (
	"net/http"
	"sync/atomic"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// A ground is what is answered at the host of a request. The pages by which
// users consent stand on one origin, Config.ConsentURL: a script of any other
// page there could read them and decide for the user.
type ground int

const (
	shared    ground = iota // everything: consent_url is public_url
	handshake               // everything but the consent pages; a callback is sent on
	consent                 // the consent pages and the callback, and nothing else
)

// origins tells grounds apart by the name in Host, as Envoy passes it. Ports
// are not looked at: cookies do not look at them either.
type origins struct {
	name     ath.Host // of the consent pages' host
	separate bool     // it is another than that of public_url
	apps     atomic.Pointer[map[ath.Host]bool]
}

func newOrigins(c *Config) *origins {
	public := ath.RequestedHostOf(c.PublicURL)
	o := &origins{name: ath.RequestedHostOf(c.ConsentURL)}
	o.separate = o.name != public
	c.Providers.Each(func(set *provider.Set) {
		apps := audienceHosts(set, public)
		o.apps.Store(&apps)
	})
	return o
}

// audienceHosts returns the hosts of apps' audiences that are not that of
// public_url.
func audienceHosts(set *provider.Set, public ath.Host) map[ath.Host]bool {
	hosts := map[ath.Host]bool{}
	for _, p := range set.Apps() {
		if host := ath.RequestedHostOf(p.App.Audience); host != public {
			hosts[host] = true
		}
	}
	return hosts
}

func (o *origins) ground(host string) ground {
	name := ath.RequestedHost(host)
	switch {
	case o.separate && name == o.name:
		return consent
	case o.separate || (*o.apps.Load())[name]:
		return handshake
	}
	// Also under a name that nobody told us of, as behind a proxy that
	// changes Host: where all pages share an origin nothing is lost by that.
	return shared
}

// answers reports whether there is something at a path on this ground.
func (g ground) answers(path string) bool {
	if g == shared {
		return true
	}
	row, _ := ath.FindPath(path)
	if g == consent {
		return row.On&ath.OnConsent != 0
	}
	return row.On&ath.OnPublic != 0
}

// isCallback reports whether a path is one to which OAuth servers send users.
func isCallback(path string) bool {
	row, _ := ath.FindPath(path)
	return row.Kind == ath.PathCallback
}

// sendOn answers a callback that arrived at a redirect URI on another host: the
// same path and query on the consent origin, where the browser's cookie is. It
// reads and sets no cookie, and touches no state.
func (f *Flow) sendOn(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	to := f.ConsentURL + r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	h.Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// navigated wants a page to be what the browser's window goes to: no script's
// fetch, no frame, no object. Browsers say so in headers that no script can
// set (Fetch Metadata); older ones, and programs, send none.
func navigated(r *http.Request) error {
	dest, mode := r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Sec-Fetch-Mode")
	sent := dest != "" || mode != "" || r.Header.Get("Sec-Fetch-Site") != "" && r.Method != http.MethodPost
	if sent && (dest != "document" || mode != "navigate") {
		return ath.Errorf(ath.InvalidRequest, "This page opens in a browser's window only, not in a frame or for a script.")
	}
	return nil
}
