package exchange

import (
	"errors"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

// targeted reports what is odd about where an allow sends the request. Envoy lets
// every reply set :path and :authority where there is a route of run-time providers,
// whatever the route of the request: so that it is for this code to set them on
// that route, for an agent, and otherwise never.
func (q *Question) targeted(d *authz.Decision) error {
	to := d.Target()
	switch {
	case !q.Runtime && to == (authz.Target{}):
		return nil
	case !q.Runtime:
		return errors.New("the decision says where the request goes, and so does its route")
	case q.Provider != "" || q.Mount != "":
		return errors.New("the route names a provider, and run-time providers too")
	case d.PassesThrough():
		return errors.New("the decision is not about an agent's request, and the route leads to run-time providers")
	case to.Path == "" || to.Path[0] != '/' || !ath.IsVisible(to.Path) || to.Host == "" || !ath.IsVisible(to.Host):
		return errors.New("the decision does not say where the request goes")
	}
	return nil
}

// send sends the request to a target. The guard of the route compares the metadata
// with the host that is about to be called.
func (a *Answer) send(to authz.Target) {
	a.set(envoy.HeaderPath, to.Path)
	a.set(envoy.HeaderAuthority, to.Host)
	if to.HTTP {
		a.Metadata = append(a.Metadata, Metadatum{Key: envoy.MetaUpstream, Text: envoy.UpstreamHTTP})
	}
	a.Metadata = append(a.Metadata, Metadatum{Key: envoy.MetaHost, Text: to.Host})
}
