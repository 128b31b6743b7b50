package bench

import (
	"fmt"
	"testing"

	"go.yaml.in/yaml/v4"
)

// The variants, which are also the names of Envoy's listeners.
const (
	bare    = "A"  // no ext_authz
	plain   = "B"  // ext_authz by its defaults
	lean    = "B2" // by athd's configuration
	athdIs  = "D"
	watchIs = "W"    // athd, with streams that are watched
	procIs  = "E"    // athd, asked by ext_proc instead
	baseIs  = "base" // athd too: the one of -base

	redisIs = "Redis" // no variant, but a process
)

type node = map[string]any

// onceForEach turns what athd bootstrap prints into a configuration with a
// listener for each variant. D's is the listener as it is. B2's is the same,
// but asks a no-op server. B's asks another no-op server by an ext_authz filter
// that says nothing but that, and has no guard: what anyone has who lets Envoy
// ask. A's has neither filter. Those of others are what those athd print
// themselves.
// None writes an access log, which would cost all of them the same.
func onceForEach(t testing.TB, bootstrap string, others map[string]string, sockets map[string]string) []byte {
	t.Helper()
	whole := parse(t, bootstrap)
	resources := whole["static_resources"].(node)
	listeners := []any{}
	for _, variant := range []string{bare, plain, lean, athdIs} {
		l, manager := listener(t, bootstrap, variant)
		var filters []any
		for _, f := range manager["http_filters"].([]any) {
			name := f.(node)["name"]
			check := name == "envoy.filters.http.ext_authz"
			if variant == bare && check || (variant == bare || variant == plain) && name == "envoy.filters.http.rbac" {
				continue
			}
			if socket := sockets[variant]; check && socket != "" {
				asks(f.(node)["typed_config"].(node), variant)
			}
			filters = append(filters, f)
		}
		manager["http_filters"] = filters
		listeners = append(listeners, l)
	}
	// The no-op servers' clusters are athd's with another socket.
	for variant, socket := range sockets {
		c := authzCluster(t, bootstrap, variant)
		assignment := c["load_assignment"].(node)
		endpoint := assignment["endpoints"].([]any)[0].(node)["lb_endpoints"].([]any)[0].(node)["endpoint"].(node)
		endpoint["address"] = node{"pipe": node{"path": socket}}
		resources["clusters"] = append(resources["clusters"].([]any), c)
	}
	for variant, theirs := range others {
		l, manager := listener(t, theirs, variant)
		leads(manager["http_filters"], variant)
		listeners = append(listeners, l)
		for _, c := range athdClusters(t, theirs, variant) {
			resources["clusters"] = append(resources["clusters"].([]any), c)
		}
	}
	resources["listeners"] = listeners
	out, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func parse(t testing.TB, bootstrap string) node {
	t.Helper()
	var whole node
	if err := yaml.Unmarshal([]byte(bootstrap), &whole); err != nil {
		t.Fatal(err)
	}
	return whole
}

// listener returns the listener of a bootstrap under another name, with its
// connection manager.
func listener(t testing.TB, bootstrap, name string) (whole, manager node) {
	t.Helper()
	l := parse(t, bootstrap)["static_resources"].(node)["listeners"].([]any)[0].(node)
	l["name"] = name
	l["address"] = node{"socket_address": node{"address": "127.0.0.1", "port_value": 0}}
	manager = l["filter_chains"].([]any)[0].(node)["filters"].([]any)[0].(node)["typed_config"].(node)
	delete(manager, "access_log")
	manager["stat_prefix"] = name
	return l, manager
}

// authzCluster returns the cluster of a bootstrap that leads to athd's decisions, under
// another name.
func authzCluster(t testing.TB, bootstrap, name string) node {
	t.Helper()
	for _, c := range athdClusters(t, bootstrap, name) {
		if c["name"] == name {
			return c
		}
	}
	t.Fatal("the bootstrap has no cluster " + asked)
	return nil
}

// The clusters of a bootstrap that lead to athd's gRPC; those for a variant have its
// name in the place of the first one's.
const (
	asked    = "athd_authz"
	watching = "athd_streams"
)

func named(cluster, variant string) string {
	switch cluster {
	case asked:
		return variant
	case watching:
		return variant + "_streams"
	}
	return cluster
}

// athdClusters returns those clusters under the names for a variant.
func athdClusters(t testing.TB, bootstrap, variant string) (out []node) {
	t.Helper()
	for _, c := range parse(t, bootstrap)["static_resources"].(node)["clusters"].([]any) {
		c := c.(node)
		if name := named(c["name"].(string), variant); name != c["name"] {
			c["name"] = name
			c["load_assignment"].(node)["cluster_name"] = name
			out = append(out, c)
		}
	}
	return out
}

// leads lets whatever names a cluster of athd's name that of a variant.
func leads(in any, variant string) {
	switch in := in.(type) {
	case []any:
		for _, v := range in {
			leads(v, variant)
		}
	case node:
		for key, v := range in {
			if text, ok := v.(string); ok && key == "cluster_name" {
				in[key] = named(text, variant)
			} else {
				leads(v, variant)
			}
		}
	}
}

// asks turns athd's ext_authz filter into that of another server.
func asks(filter node, variant string) {
	if variant == plain {
		for key := range filter {
			if key != "@type" && key != "grpc_service" && key != "transport_api_version" {
				delete(filter, key)
			}
		}
	}
	filter["grpc_service"].(node)["envoy_grpc"].(node)["cluster_name"] = variant
}

// request is what an agent sends: 14 headers, Host among them.
func (c call) request() []byte {
	return fmt.Appendf(nil, "GET /ath/proxy/shop/api/products/7?page=2 HTTP/1.1\r\n"+
		"Host: 127.0.0.1:8080\r\n"+
		"Authorization: Bearer %s\r\n"+
		"X-ATH-Agent-ID: %s\r\n"+
		"User-Agent: shopping-agent/2.1 (linux; x86_64)\r\n"+
		"Accept: application/json\r\n"+
		"Accept-Encoding: gzip, deflate, br\r\n"+
		"Accept-Language: en-US,en;q=0.9\r\n"+
		"Cache-Control: no-cache\r\n"+
		"Pragma: no-cache\r\n"+
		"Sec-Fetch-Mode: cors\r\n"+
		"Sec-Fetch-Site: cross-site\r\n"+
		"Origin: https://agents.example\r\n"+
		"Referer: https://agents.example/run/7f3a\r\n"+
		"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n", c.token, c.agent)
}
