package bench

import (
	"fmt"
	"testing"

	"go.yaml.in/yaml/v4"
)

// The variants, which are also the names of Envoy's listeners.
const (
	bare   = "A"  // no ext_authz
	plain  = "B"  // ext_authz by its defaults
	lean   = "B2" // by athd's configuration
	athdIs = "D"

	redisIs = "Redis" // no variant, but a process
)

type node = map[string]any

// fourTimes turns what athd bootstrap prints into a configuration with a
// listener for each variant. D's is the listener as it is. B2's is the same,
// but asks a no-op server. B's asks another no-op server by an ext_authz filter
// that says nothing but that, and has no guard: what anyone has who lets Envoy
// ask. A's has neither filter.
// None writes an access log, which would cost all of them the same.
func fourTimes(t testing.TB, bootstrap string, sockets map[string]string) []byte {
	t.Helper()
	parse := func() node {
		var whole node
		if err := yaml.Unmarshal([]byte(bootstrap), &whole); err != nil {
			t.Fatal(err)
		}
		return whole
	}
	whole := parse()
	resources := whole["static_resources"].(node)
	var listeners []any
	for _, variant := range []string{bare, plain, lean, athdIs} {
		l := parse()["static_resources"].(node)["listeners"].([]any)[0].(node)
		l["name"] = variant
		l["address"] = node{"socket_address": node{"address": "127.0.0.1", "port_value": 0}}
		manager := l["filter_chains"].([]any)[0].(node)["filters"].([]any)[0].(node)["typed_config"].(node)
		delete(manager, "access_log")
		manager["stat_prefix"] = variant
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
	resources["listeners"] = listeners

	// The no-op servers' clusters are athd's with another socket.
	for variant, socket := range sockets {
		for _, c := range parse()["static_resources"].(node)["clusters"].([]any) {
			if c.(node)["name"] != "athd_authz" {
				continue
			}
			c.(node)["name"] = variant
			assignment := c.(node)["load_assignment"].(node)
			assignment["cluster_name"] = variant
			endpoint := assignment["endpoints"].([]any)[0].(node)["lb_endpoints"].([]any)[0].(node)["endpoint"].(node)
			endpoint["address"] = node{"pipe": node{"path": socket}}
			resources["clusters"] = append(resources["clusters"].([]any), c)
		}
	}
	out, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// asks turns athd's ext_authz filter into that of a no-op server's variant.
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
