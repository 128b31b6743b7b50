package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/envoy"
)

// resources are what a dump holds of what Envoy runs, or is about to run.
type resources struct {
	listeners  []*listenerv3.Listener
	routes     map[string]*routev3.RouteConfiguration // of RDS, by name
	scopes     map[string][]string                    // of SRDS: names of routes, by name
	clusters   map[string]*clusterv3.Cluster
	endpoints  map[string]*endpointv3.ClusterLoadAssignment
	extensions map[string]*anypb.Any // of ECDS
}

// A tree is a JSON object. Names may be written as in proto files or in camel
// case: Envoy does the one, tools that reprint its dumps the other.
type tree map[string]any

func (t tree) get(name string) any {
	if v, there := t[name]; there {
		return v
	}
	first, rest, _ := strings.Cut(name, "_")
	for word := range strings.SplitSeq(rest, "_") {
		if word != "" {
			first += strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return t[first]
}

func (t tree) object(name string) tree {
	o, _ := t.get(name).(map[string]any)
	return o
}

func (t tree) text(name string) string {
	s, _ := t.get(name).(string)
	return s
}

// all returns the objects of the lists with these names.
func (t tree) all(names ...string) []tree {
	var out []tree
	for _, name := range names {
		list, _ := t.get(name).([]any)
		for _, item := range list {
			if o, ok := item.(map[string]any); ok {
				out = append(out, o)
			}
		}
	}
	return out
}

// read sorts the parts of a dump. The bootstrap is not looked at: what it says
// of listeners, routes and clusters is in their own parts.
func (v *verifier) read(dump []byte) error {
	dec := json.NewDecoder(bytes.NewReader(dump))
	dec.UseNumber()
	var root map[string]any
	if err := dec.Decode(&root); err != nil {
		return fmt.Errorf("envoy: the dump is not JSON: %w", err)
	}
	v.resources = resources{
		routes: map[string]*routev3.RouteConfiguration{}, scopes: map[string][]string{},
		clusters: map[string]*clusterv3.Cluster{}, endpoints: map[string]*endpointv3.ClusterLoadAssignment{},
		extensions: map[string]*anypb.Any{},
	}
	seen := map[string]bool{}
	for _, part := range tree(root).all("configs") {
		kind := part.text("@type")
		kind = kind[strings.LastIndexByte(kind, '.')+1:]
		seen[kind] = true
		switch kind {
		case "ListenersConfigDump":
			v.readListeners(part)
		case "RoutesConfigDump":
			v.readRoutes(part)
		case "ScopedRoutesConfigDump":
			v.readScopes(part)
		case "ClustersConfigDump":
			v.readClusters(part)
		case "EndpointsConfigDump":
			v.readEndpoints(part)
		case "EcdsConfigDump":
			v.readExtensions(part)
		}
	}
	if !seen["ListenersConfigDump"] || !seen["ClustersConfigDump"] {
		return errors.New("envoy: the dump has no listeners or no clusters: it must be all of /config_dump, without resource or mask")
	}
	return nil
}

func (v *verifier) readListeners(part tree) {
	add := func(o tree, name string) {
		l := &listenerv3.Listener{}
		if v.decode(o, "listener "+envoy.Quote(name), l) {
			v.listeners = append(v.listeners, l)
		}
	}
	for _, s := range part.all("static_listeners") {
		add(s.object("listener"), s.object("listener").text("name"))
	}
	for _, d := range part.all("dynamic_listeners") {
		v.refused(d, "listener "+envoy.Quote(d.text("name")))
		for _, state := range []string{"active_state", "warming_state"} {
			if o := d.object(state).object("listener"); o != nil {
				add(o, d.text("name"))
			}
		}
	}
}

func (v *verifier) readRoutes(part tree) {
	for _, r := range part.all("static_route_configs", "dynamic_route_configs") {
		o := r.object("route_config")
		v.refused(r, "routes "+envoy.Quote(o.text("name")))
		c := &routev3.RouteConfiguration{}
		if o != nil && v.decode(o, "routes "+envoy.Quote(o.text("name")), c) {
			v.routes[c.Name] = c
		}
	}
}

func (v *verifier) readScopes(part tree) {
	for _, set := range part.all("inline_scoped_route_configs", "dynamic_scoped_route_configs") {
		name := set.text("name")
		for _, o := range set.all("scoped_route_configs") {
			s := &routev3.ScopedRouteConfiguration{}
			if !v.decode(o, "scoped routes "+envoy.Quote(name), s) {
				continue
			}
			if inline := s.RouteConfiguration; inline != nil {
				v.routes[inline.Name] = inline
				v.scopes[name] = append(v.scopes[name], inline.Name)
			} else {
				v.scopes[name] = append(v.scopes[name], s.RouteConfigurationName)
			}
		}
	}
}

func (v *verifier) readClusters(part tree) {
	// Active ones come last: they are what requests take now.
	for _, s := range part.all("dynamic_warming_clusters", "static_clusters", "dynamic_active_clusters") {
		o := s.object("cluster")
		v.refused(s, "cluster "+envoy.Quote(o.text("name")))
		c := &clusterv3.Cluster{}
		if o != nil && v.decode(o, "cluster "+envoy.Quote(o.text("name")), c) {
			v.clusters[c.Name] = c
		}
	}
}

func (v *verifier) readEndpoints(part tree) {
	for _, s := range part.all("static_endpoint_configs", "dynamic_endpoint_configs") {
		e := &endpointv3.ClusterLoadAssignment{}
		if o := s.object("endpoint_config"); o != nil && v.decode(o, "endpoints "+envoy.Quote(o.text("cluster_name")), e) {
			v.endpoints[e.ClusterName] = e
		}
	}
}

func (v *verifier) readExtensions(part tree) {
	for _, s := range part.all("ecds_filters") {
		o := s.object("ecds_filter")
		where := "filter " + envoy.Quote(o.text("name"))
		v.refused(s, where)
		f := &hcmv3.HttpFilter{}
		if o != nil && strings.HasSuffix(o.text("@type"), ".HttpFilter") && v.decode(o, where, f) {
			v.extensions[f.Name] = f.GetTypedConfig()
			continue
		}
		e := &corev3.TypedExtensionConfig{}
		if o != nil && v.decode(o, where, e) {
			v.extensions[e.Name] = e.GetTypedConfig()
		}
	}
}

// refused reports an update that Envoy did not take: what runs is older than
// what its control plane meant.
func (v *verifier) refused(o tree, where string) {
	if o.object("error_state") != nil {
		v.warning(where, "Envoy refused the last update and runs what it had before",
			"see error_state in the dump, and correct what the control plane sends")
	}
}

// decode reads one resource. What this program does not know of Envoy costs a
// warning, not the rest.
func (v *verifier) decode(o tree, where string, into proto.Message) bool {
	plain := make(map[string]any, len(o))
	for name, value := range o {
		if name != "@type" {
			plain[name] = known(value)
		}
	}
	text, err := json.Marshal(plain)
	if err != nil {
		v.fault(where, "it cannot be read", "look at it by hand: nothing in it was verified")
		return false
	}
	if protojson.Unmarshal(text, into) == nil {
		return true
	}
	proto.Reset(into)
	if (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, into) != nil {
		v.fault(where, "it cannot be read", "look at it by hand: nothing in it was verified")
		return false
	}
	v.warning(where, "it says something that this program does not know",
		"Envoy may be newer than this program: verify with a newer one")
	return true
}

const anyPrefix = "type.googleapis.com/"

// known makes every Any below a value readable: one wrapped as a TypedStruct
// is unwrapped, one of an unknown type becomes a Struct that still says its type.
func known(value any) any {
	switch x := value.(type) {
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = known(item)
		}
		return out
	case map[string]any:
		o := tree(x)
		kind, isAny := x["@type"].(string)
		if isAny && strings.HasSuffix(kind, ".TypedStruct") {
			inner := map[string]any{}
			maps.Copy(inner, o.object("value"))
			inner["@type"] = anyPrefix + strings.TrimPrefix(o.text("type_url"), anyPrefix)
			return known(inner)
		}
		if isAny {
			if _, err := protoregistry.GlobalTypes.FindMessageByURL(kind); err != nil {
				return map[string]any{"@type": anyPrefix + "google.protobuf.Struct", "value": x}
			}
		}
		out := make(map[string]any, len(x))
		for name, item := range x {
			out[name] = known(item)
		}
		return out
	}
	return value
}

// kindOf returns the full name of the message in an Any, also of one whose
// type is unknown.
func kindOf(a *anypb.Any) string {
	if s := new(structpb.Struct); a.MessageIs(s) && a.UnmarshalTo(s) == nil {
		if kind := s.Fields["@type"].GetStringValue(); kind != "" {
			return strings.TrimPrefix(kind, anyPrefix)
		}
	}
	return strings.TrimPrefix(a.GetTypeUrl(), anyPrefix)
}

// open decodes an Any into m if it is one of these. Most are not: filters are looked
// through for one kind after the other.
func open(a *anypb.Any, m proto.Message) bool { return a.MessageIs(m) && a.UnmarshalTo(m) == nil }
