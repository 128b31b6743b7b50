package into

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/verify"
)

// verified holds what was made against what athd needs, as verify-envoy does with
// what runs. A fault refuses.
func (p *plan) verified(text string) ([]verify.Finding, error) {
	root, err := parsed(text)
	if err != nil {
		return nil, err
	}
	resources := (spot{root, p.document, 0}).get("static_resources")
	dump := func(kind, list, name string) map[string]any {
		var all []any
		for _, s := range resources.get(list).items() {
			all = append(all, map[string]any{name: plain(s.Node)})
		}
		return map[string]any{"@type": "type.googleapis.com/envoy.admin.v3." + kind, "static_" + list: all}
	}
	data, err := json.Marshal(map[string]any{"configs": []any{
		dump("ListenersConfigDump", "listeners", "listener"), dump("ClustersConfigDump", "clusters", "cluster"),
	}})
	if err != nil {
		return nil, err
	}
	c := p.config.Parts
	expect := verify.Expectation{
		Providers: c.Providers, Authz: c.Authz, Runtime: c.RuntimeProviders, Egress: c.Egress,
		ByExtProc: c.ByExtProc, WatchesStreams: c.WatchesStreams, KeepsStreams: c.KeepsStreams, ChecksReplies: c.ChecksReplies,
	}
	if consent := ath.RequestedHostOf(c.ConsentURL); consent != ath.RequestedHostOf(c.PublicURL) {
		expect.ConsentHost = consent
	}
	v, err := verify.Verify(data, expect)
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, f := range v.Findings {
		if f.Severity == verify.Fault {
			faults = append(faults, fmt.Sprintf("%s\n  %s\n  remedy: %s", f.Where, f.What, f.Remedy))
		}
	}
	if len(faults) > 0 {
		return nil, refuse(0, "with athd's parts, verify-envoy would find:\n"+strings.Join(faults, "\n"), "change what it names, or "+byHand)
	}
	return v.Findings, nil
}

// plain is what a tree says, as JSON has it.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.AliasNode:
		return plain(n.Alias)
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			out[i] = plain(c)
		}
		return out
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
	}
	return n.Value
}

// decode reads a node as one of Envoy's messages, as far as it is known.
func decode(n *yaml.Node, m proto.Message) bool {
	text, err := json.Marshal(plain(n))
	return err == nil && protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, m) == nil
}

// shadowed looks at what of a virtual host athd's routes take. The way to the API
// that was there may be taken; what leads elsewhere may not.
func (p *plan) shadowed(to spot, h host) error {
	for _, r := range to.get("routes").items() {
		var match routev3.RouteMatch
		if !r.get("match").there() || !decode(r.get("match").Node, &match) {
			continue
		}
		i := slices.IndexFunc(h.routes, func(ours piece) bool {
			var first routev3.RouteMatch
			return decode((spot{Node: ours.value, in: p.document}).get("match").Node, &first) && verify.Shadows(&first, &match)
		})
		if i < 0 {
			continue
		}
		name := nameOf(h.routes[i])
		id, app := strings.CutPrefix(name, "app_")
		if app && !p.leadsTo(r, id) {
			return refuse(r.Line, fmt.Sprintf("this route would never be taken again: the app %q takes all of its requests, and it does not lead to the app's upstream", id),
				"say in athd.yaml by path_prefix or hosts what of this virtual host is the app's")
		}
		p.note(r.Line, "this route is never taken any more: athd's %s takes its requests. You may remove it", name)
	}
	return nil
}

// leadsTo reports whether a route goes to an app's upstream. Where this file does
// not say where it goes, the app's path prefix is the operator's word for it.
func (p *plan) leadsTo(route spot, id string) bool {
	app := p.config.Parts.Providers.Get(id)
	if app == nil || !route.get("route").there() {
		return false
	}
	cluster := named(p.spot(p.root, 0).get("static_resources", "clusters").items(), route.text("route", "cluster"))
	var c clusterv3.Cluster
	if !cluster.there() || !decode(cluster.Node, &c) || len(c.GetLoadAssignment().GetEndpoints()) == 0 {
		return app.App != nil && app.App.PathPrefix != ""
	}
	target := envoy.Upstream(app)
	want := envoy.Endpoint{Host: target.Hostname(), Port: envoy.TargetPort(target)}
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			a := e.GetEndpoint().GetAddress()
			if want.Same(envoy.Endpoint{Path: a.GetPipe().GetPath(), Host: a.GetSocketAddress().GetAddress(), Port: a.GetSocketAddress().GetPortValue()}) {
				return true
			}
		}
	}
	return false
}
