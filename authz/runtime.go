package authz

import (
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// A Target is where Envoy sends an allowed request on the route of run-time
// providers, which names no API by itself. The zero Target is none.
type Target struct {
	Path string // :path: the API's base path, and what was judged below the mount, byte for byte
	Host string // :authority: the API's host, with its port where that is not 443
	HTTP bool   // the API is spoken to without TLS
}

// runtime returns the id of the run-time provider that a path leads to, and its
// mount, or "". A provider of a file has a route of its own: on this one there is
// none. Ids are compared as they are written, so that there is one spelling of each.
func (p places) runtime(target string) (id, mount string) {
	path, _, _ := strings.Cut(target, "?")
	rest, below := strings.CutPrefix(path, ath.ProxyPath)
	name, _, mounted := strings.Cut(rest, "/")
	if !below || !mounted {
		return "", ""
	}
	known := p.providers.Get(name)
	if known == nil || !known.Runtime || known.App != nil || known.ID != name {
		return "", ""
	}
	return known.ID, path[:len(ath.ProxyPath)+len(name)+1]
}

// belowProxy reports whether a path is one of those that the route of run-time
// providers has, unless a provider of a file has it.
func belowProxy(target string) bool { return strings.HasPrefix(target, ath.ProxyPath) }

// misrouted reports whether a route says two things about where it leads.
func (r *Request) misrouted() bool { return r.Runtime && (r.Provider != "" || r.Mount != "") }

// baseOf is the Target of a run-time provider's base, with a slash at its end; the
// zero Target where there is none, and of all others.
func baseOf(p *provider.Provider) Target {
	if !p.Runtime || p.App != nil || p.APIBase == nil {
		return Target{}
	}
	scheme := p.APIBase.Scheme
	host, err := ath.HostOf(p.APIBase)
	path := strings.TrimRight(p.APIBase.EscapedPath(), "/") + "/"
	if err != nil || scheme != "https" && scheme != "http" || path[0] != '/' || !ath.IsVisible(path) || strings.ContainsAny(path, "?#") {
		return Target{}
	}
	to := Target{Path: path, Host: host.String(), HTTP: scheme == "http"}
	if to.HTTP && host.Port() == 0 {
		// Envoy takes 443 for the port where none is written, whatever it speaks there.
		to.Host += ":80"
	}
	return to
}

// destinationKnown finds out where the request goes, if its route leaves that to
// athd: to the API's base, and on as it was judged. The mount is followed by a
// segment or by nothing, so that no second slash comes behind that of the base.
func (q *evaluation) destinationKnown() Reason {
	if !q.request.Runtime {
		return ""
	}
	base := q.of(q.provider).base
	rest, mounted := strings.CutPrefix(q.request.Path, q.request.Mount)
	if base == (Target{}) || !mounted || q.request.Mount == "" || !q.provider.Runtime {
		if !q.explains {
			q.Logger.ErrorContext(q.ctx, "run-time provider without a destination; the request is refused",
				"decision_id", q.request.ID, "provider_id", q.provider.ID)
		}
		return InternalError
	}
	q.target = Target{Path: base.Path + rest, Host: base.Host, HTTP: base.HTTP}
	return ""
}

func (q *evaluation) describeRoute() string {
	switch {
	case !q.request.Runtime:
		return "the route says where the request goes"
	case q.target == (Target{}):
		return "the API's base URL names no host that can be called"
	}
	return "the request goes to " + quoted(q.target.Host) + ", as " + quoted(withoutQuery(q.target.Path))
}
