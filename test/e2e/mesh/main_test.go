package mesh

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/tree"
)

func TestMain(m *testing.M) { stage.Main(m) }

// patience is after what time something does not happen, however busy the machine is.
const patience = 20 * time.Second

// A mesh is an Envoy as some control plane configures it.
type mesh struct {
	name   string
	raw    bool // headers are told raw
	merges bool // two slashes are one before anyone looks
	clears bool // APIs' replies are cleared of x-ath-*
	away   int  // the status while athd is away
	judges bool // athd is asked by ext_proc
	// streams: athd hears of long exchanges, and ends them.
	streams bool
	lists   bool // athd is told headers of a list only, in which none of envoy.IdentityHeaders is
	// consentHost has the consent pages; "": they are where all else is.
	consentHost string
	config      func(t *testing.T, listen string, clusters []byte) []byte
}

// start sets a stage up with the mesh's Envoy on it. The clusters are those that
// athd bootstrap prints, without filters of their own: a mesh has the same under
// other names.
func (m mesh) start(t *testing.T) *stage.Stage {
	t.Helper()
	return m.startWith(t, stage.Options{})
}

func (m mesh) startWith(t *testing.T, o stage.Options) *stage.Stage {
	t.Helper()
	o.Destination, o.ConsentHost, o.AccessLogOf = "host_and_path", m.consentHost, "the mesh"
	o.Envoy = func(listen string, bootstrap func(...string) []byte) []byte {
		clusters := tree.Load(t, bootstrap("--part", "clusters"))
		for _, c := range listOf(clusters["clusters"]) {
			if options, ok := at(c, "typed_extension_protocol_options", httpOptions).(object); ok {
				delete(options, "http_filters")
			}
		}
		return m.config(t, listen, dump(t, clusters))
	}
	return stage.Start(t, o)
}

type object = tree.Object

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// documents reads a file of several YAML documents.
func documents(t *testing.T, path string) []object {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	for part := range strings.SplitSeq(string(text), "\n---\n") {
		all = append(all, tree.Load(t, []byte(part)))
	}
	return all
}

// managerOf puts an HTTP connection manager together.
func managerOf(t *testing.T, base, filters, routes string) object {
	t.Helper()
	m := tree.Load(t, []byte(base))
	m["@type"] = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	m["http_filters"] = tree.Load(t, []byte("filters:"+filters))["filters"]
	m["route_config"] = tree.Load(t, []byte(routes))
	m["access_log"] = []any{object{
		"name":         "stdout",
		"typed_config": object{"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"},
	}}
	return m
}

// bootstrap is a whole configuration around a connection manager. authz is the
// mesh's name of the cluster that asks athd.
func bootstrap(t *testing.T, listen string, manager object, clusters []byte, authz string) []byte {
	t.Helper()
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	address := func(host string, port int) object {
		return object{"socket_address": object{"address": host, "port_value": port}}
	}
	resources := tree.Load(t, []byte(strings.ReplaceAll(string(clusters), "athd_authz", authz)))
	resources["listeners"] = []any{object{
		"name": "public", "address": address(host, number),
		"filter_chains": []any{object{"filters": []any{object{
			"name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
		}}}},
	}}
	text := dump(t, object{"admin": object{"address": address("127.0.0.1", 0)}, "static_resources": resources})
	return []byte(strings.ReplaceAll(string(text), "API_HOST", hostOf(t, resources, "provider_gallery")))
}

// hostOf is where a cluster leads, as a URL has it.
func hostOf(t *testing.T, resources object, cluster string) string {
	t.Helper()
	for _, c := range resources["clusters"].([]any) {
		if at(c, "name") == cluster {
			a := at(c, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address", "socket_address")
			return fmt.Sprintf("%v:%v", at(a, "address"), at(a, "port_value"))
		}
	}
	t.Fatalf("there is no cluster %s", cluster)
	return ""
}

func dump(t *testing.T, v any) []byte {
	t.Helper()
	text, err := yaml.Dump(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A reply is what came back over a raw connection.
type reply struct {
	status int
	code   string // of a refusal (E-1)
	known  bool   // it has a decision_id, the same in body and header (E-2)
	body   string
	header http.Header
}

// send writes a request line by line, with Host added, and reads one reply.
func send(t *testing.T, s *stage.Stage, line string, headers ...string) reply {
	t.Helper()
	c, err := net.DialTimeout("tcp", s.Host(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	lines := append([]string{line + " HTTP/1.1", "Host: " + s.Host()}, headers...)
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var refusal struct {
		Code    string
		Details struct {
			Decision string `json:"decision_id"`
		}
	}
	json.Unmarshal(body, &refusal) // what is no JSON has no code
	id := refusal.Details.Decision
	return reply{resp.StatusCode, refusal.Code, id != "" && id == resp.Header.Get("X-ATH-Decision-ID"), string(body), resp.Header}
}

// stands says which of athd's own clusters stands for one of the mesh's.
func stands(t *testing.T, name string) string {
	t.Helper()
	for part, own := range map[string]string{
		"/extauth/": "athd_authz", "/extproc/": "athd_authz", "/handshake/": "athd_companion", "/consent/": "athd_companion", "httproute/athd/proxy-gallery/": "provider_gallery", "httproute/athd/app-shop/": "provider_shop",
		"|9001||athd.": "athd_authz", "|9001||athd-streams.": "athd_streams", "athd_streams": "athd_streams", "|9000||athd.": "athd_companion", "|443||api.gallery.": "provider_gallery", "|3000||shop.": "provider_shop",
	} {
		if strings.Contains(name, part) {
			return own
		}
	}
	t.Fatalf("an unknown cluster: %s", name)
	return ""
}
