package verify

import (
	"cmp"
	"net/netip"
	"net/url"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// A destination says where a cluster leads, as far as a dump can.
type destination struct {
	endpoints []envoy.Endpoint
	unknown   string // why it cannot be said; "" if it can
	chosen    string // who chooses it, if it is not the configuration
}

// destinationOf returns where a cluster leads.
func (v *verifier) destinationOf(c *clusterv3.Cluster) destination {
	assignment := c.GetLoadAssignment()
	if custom := c.GetClusterType(); custom != nil && !open(custom.GetTypedConfig(), &dnsv3.DnsCluster{}) {
		if kind := kindOf(custom.GetTypedConfig()); strings.Contains(kind+custom.GetName(), "dynamic_forward_proxy") {
			return destination{chosen: "the request's host"}
		}
		return destination{unknown: "its kind, " + envoy.Quote(custom.GetName()) + ", is unknown"}
	}
	switch c.GetType() {
	case clusterv3.Cluster_ORIGINAL_DST:
		return destination{chosen: "whoever connects"}
	case clusterv3.Cluster_EDS:
		if c.GetClusterType() == nil {
			assignment = v.endpoints[cmp.Or(c.GetEdsClusterConfig().GetServiceName(), c.GetName())]
			if assignment == nil {
				return destination{unknown: "its endpoints are not in the dump; take it with ?include_eds"}
			}
		}
	}
	return destination{endpoints: endpointsOf(assignment)}
}

func endpointsOf(a *endpointv3.ClusterLoadAssignment) []envoy.Endpoint {
	var out []envoy.Endpoint
	for _, locality := range a.GetEndpoints() {
		for _, lb := range locality.GetLbEndpoints() {
			address := lb.GetEndpoint().GetAddress()
			out = append(out, envoy.Endpoint{
				Path: address.GetPipe().GetPath(),
				Host: address.GetSocketAddress().GetAddress(), Port: address.GetSocketAddress().GetPortValue(),
			})
		}
	}
	return out
}

// sameHost compares a Host header with that of a URL; the default port may be
// left out.
func sameHost(header string, u *url.URL) bool {
	want, err := ath.HostOf(u)
	got, err2 := ath.HostOf(&url.URL{Scheme: u.Scheme, Host: header})
	return err == nil && err2 == nil && got == want
}

func apiEndpoint(p *provider.Provider) envoy.Endpoint {
	u := envoy.Upstream(p)
	return envoy.Endpoint{Host: u.Hostname(), Port: envoy.TargetPort(u)}
}

// providersAt returns the providers whose API a cluster leads to.
func (v *verifier) providersAt(cluster string) []string {
	var out []string
	for _, e := range v.destinationOf(v.clusters[cluster]).endpoints {
		for _, p := range v.expect.Providers.All() {
			if e.Same(apiEndpoint(p)) {
				out = append(out, p.ID)
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

// verifyCluster wants the target's cluster to be the provider's API and no other
// place, and to make sure of it.
func (c *chain) verifyCluster(w *target, p *provider.Provider) {
	target := envoy.Upstream(p)
	if w.cluster == "" {
		c.fault(w.where, "the cluster is chosen by the request or a plugin: the user's token may go anywhere", "name the provider's cluster")
		return
	}
	cluster := c.clusters[w.cluster]
	if cluster == nil {
		c.fault(w.where, "it leads to the cluster "+envoy.Quote(w.cluster)+", which is not there", "add the cluster, or name the provider's")
		return
	}
	where := "cluster " + envoy.Quote(w.cluster)
	verified := c.verifyTLS(where, cluster, target)
	to := c.destinationOf(cluster)
	switch {
	case to.chosen != "":
		c.say(c.ours(), w.where, "the cluster "+envoy.Quote(w.cluster)+" leads wherever "+to.chosen+" says: the user's token may go anywhere", "use a cluster that leads to the API's host only")
	case to.unknown != "":
		c.warning(w.where, "it cannot be said where the cluster "+envoy.Quote(w.cluster)+" leads: "+to.unknown, "see by hand that it is "+envoy.Quote(target.Host))
	case len(to.endpoints) == 0:
		c.warning(w.where, "the cluster "+envoy.Quote(w.cluster)+" has no endpoints", "see that the API's name resolves")
	}
	for _, e := range to.endpoints {
		// Another address is as good if its certificate says the API's name.
		if !e.Same(apiEndpoint(p)) && (!verified || e.Port != envoy.TargetPort(target)) {
			c.fault(w.where, "the cluster "+envoy.Quote(w.cluster)+" leads to "+envoy.Quote(e.String())+", which is not the API of "+envoy.Quote(p.ID)+", "+envoy.Quote(apiEndpoint(p).String()),
				"let the route lead to the provider's own cluster")
		}
	}
	if target.Scheme == provider.HTTP2 && !speaksHTTP2(cluster) {
		c.warning(where, "the API speaks HTTP/2 without TLS (h2c), and gets HTTP/1.1", "set explicit_http_config.http2_protocol_options")
	}
	if target.Scheme != "https" && !private(target.Hostname()) && !c.expect.ByHost {
		c.warning(where, "the user's token travels in plaintext to "+envoy.Quote(target.Host), "use the API's https URL")
	}
	c.verifyReplies(w, cluster)
	if o := httpOptionsOf(cluster); o != nil {
		if len(o.GetRequestMirrorPolicies()) > 0 {
			c.fault(where, "requests are mirrored: the user's token goes to another place too", "remove request_mirror_policies")
		}
		for _, f := range o.GetHttpFilters() {
			c.verifyUpstreamFilter(where, f)
		}
	}
}

// private reports whether a host is this one or one of the operator's own
// network, as far as its name tells.
func private(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	}
	if h, err := ath.ParseHost(host); err == nil {
		host = h.Name()
	}
	for _, suffix := range []string{".localhost", ".internal", ".local", ".svc", ".home.arpa"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return !strings.Contains(host, ".")
}

func httpOptionsOf(c *clusterv3.Cluster) *httpv3.HttpProtocolOptions {
	for _, a := range c.GetTypedExtensionProtocolOptions() {
		o := &httpv3.HttpProtocolOptions{}
		if open(a, o) {
			return o
		}
	}
	return nil
}
