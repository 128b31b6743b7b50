package guides

import (
	"fmt"
	"net"
	"reflect"
	"strconv"
	"testing"

	"github.com/athd/athd/test/harness/tree"
)

func manager(t *testing.T, envoy object) object {
	t.Helper()
	return tree.At(t, envoy, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(object)
}

func mainRoutes(t *testing.T, envoy object) []any {
	t.Helper()
	return tree.At(t, manager(t, envoy), "route_config", "virtual_hosts", 1, "routes").([]any)
}

// holdsTheParts: what athd prints is in the file as it is, in its order.
func holdsTheParts(t *testing.T, envoy, parts object) {
	t.Helper()
	const cure = "; generate it again as docs/guides/your-envoy.md tells"
	clusters := tree.At(t, parts, "clusters", "clusters").([]any)
	theirs := tree.At(t, envoy, "static_resources", "clusters").([]any)
	if !reflect.DeepEqual(theirs[len(theirs)-len(clusters):], clusters) {
		t.Error("after.yaml has other clusters than athd bootstrap prints" + cure)
	}
	routes := tree.At(t, parts, "routes", "virtual_hosts", 0, "routes").([]any)
	if all := mainRoutes(t, envoy); len(all) < len(routes) || !reflect.DeepEqual(all[:len(routes)], routes) {
		t.Error("after.yaml has other routes than athd bootstrap prints" + cure)
	}
	for name, want := range tree.At(t, parts, "filters").(object) {
		got := manager(t, envoy)[name]
		if filters, ok := want.([]any); ok && name == "http_filters" && got != nil {
			all := got.([]any)
			got = all[max(0, len(all)-len(filters)):]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("after.yaml has another %s than athd bootstrap prints%s", name, cure)
		}
	}
}

// holdsTheBefore: what was there before is still there, but for the way to the
// API.
func holdsTheBefore(t *testing.T, after, before object) {
	t.Helper()
	place := []any{"static_resources", "clusters", 0}
	if !reflect.DeepEqual(tree.At(t, after, place...), tree.At(t, before, place...)) {
		t.Error("the website's cluster is another one")
	}
	if !reflect.DeepEqual(tree.At(t, manager(t, after), "http_filters", 0), tree.At(t, manager(t, before), "http_filters", 0)) {
		t.Error("the first filter is another one")
	}
	was, is := mainRoutes(t, before), mainRoutes(t, after)
	last, now := was[len(was)-1].(object), is[len(is)-1].(object)
	if !reflect.DeepEqual(now["match"], last["match"]) || !reflect.DeepEqual(now["route"], last["route"]) || now["typed_per_filter_config"] == nil {
		t.Error("the last route is another one, or is checked")
	}
}

// move gives every socket address of these ports another one.
func move(t *testing.T, v any, ports map[int]string) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			move(t, e, ports)
		}
	case object:
		if port, ok := v["port_value"].(int); ok {
			host, to, err := net.SplitHostPort(ports[port])
			if err != nil {
				t.Fatalf("port %d: %v", port, err)
			}
			if v["port_value"], err = strconv.Atoi(to); err != nil {
				t.Fatal(err)
			}
			v["address"] = host
			return
		}
		for _, e := range v {
			move(t, e, ports)
		}
	}
}

// moveClosed gives every port that athd.egress keeps closed another one: those of
// athd's listeners.
func moveClosed(t *testing.T, v any, ports map[string]any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			moveClosed(t, e, ports)
		}
	case object:
		if at, ok := ports[fmt.Sprint(v["start"])].(string); ok && v["end"] != nil {
			_, to, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			next, err := strconv.Atoi(to)
			if err != nil {
				t.Fatal(err)
			}
			v["start"], v["end"] = to, strconv.Itoa(next+1)
			return
		}
		for _, e := range v {
			moveClosed(t, e, ports)
		}
	}
}
