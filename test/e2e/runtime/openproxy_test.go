package runtime

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3" // to read and write the rig's resolver
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/e2e/verifyenvoy"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
)

// A trial asks for something that no provider names, or for a provider that names
// what none may.
type trial struct {
	name string
	ask  func() string // what Envoy answered: a status, "reset" or "closed"
	want []string      // "API": it reached the provider's own API, and nothing else
}

// forbidden is what no trial may reach, each with what counts that it was.
type forbidden struct {
	*rig
	closed, grpc *api // an address that nothing opens; athd's gRPC listener
	public       string
	asked        int // how often Envoy's admin was asked
}

// Whatever an agent sends, and whatever an operator's provider names: nothing reaches
// an address that no provider names, and of those none that is closed.
// proves: P-3, A-7
func TestNothingReachesWhatNoProviderNames(t *testing.T) {
	f := &forbidden{}
	f.rig = newRig(t, func(r *rig, c *bootstrap.Config) {
		f.grpc, f.public = r.serve("127.0.0.1:0", nil), reserve.Addr(t)
		c.Listen = f.public
		c.Egress.Own = append(c.Egress.Own, listener(t, "listen.grpc", f.grpc.addr), listener(t, "envoy.listen", f.public))
		// As open as an operator can make it, so that nothing but what is athd's and
		// Envoy's own is left to refuse on loopback.
		c.Egress.Allow = append(c.Egress.Allow, egress.Exception{Addresses: netip.MustParsePrefix("127.0.0.1/32"), HTTP: true})
		byHTTP(r, c)
	})
	f.closed = f.serve(closedIP+":0", nil)
	tools := f.tlsAPI(openIP, "api.tools.test")
	for name, address := range map[string]string{"api.tools.test": openIP, "closed.test": closedIP, "self.test": "127.0.0.1", "meta.test": "169.254.169.254", "self6.test": "::1", "mapped.test": "::ffff:127.0.0.1"} {
		f.dns.Set(name, address)
	}
	f.add("tools", "https://api.tools.test:"+tools.port+"/v2")
	f.table("as athd bootstrap wrote it", tools, slices.Concat(f.requests(tools), f.destinations()))

	// What somebody switched off on the way: the next one refuses.
	lookAway := []trial{
		{"the agent's request, as it should be", f.h1("GET /ath/proxy/tools/x HTTP/1.1", "Host: gw.test"), []string{"503"}},
		{"Host: a closed address", f.h1("GET /ath/proxy/tools/x HTTP/1.1", "Host: closed.test:"+f.closed.port), []string{"503"}},
		{"absolute form: Envoy's admin", f.h1("GET http://"+f.admin+"/ath/proxy/tools/quitquitquit HTTP/1.1", "Host: "+f.admin), []string{"503"}},
	}
	unchecked := &extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}}
	f.spoilt("the check is not in the chain", tools, lookAway, func(c *verifyenvoy.Config) {
		c.Manager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.CheckFilter })
		})
	})
	f.spoilt("the check is disabled on the route", tools, lookAway, perRoute(envoy.CheckFilter, unchecked))
	f.spoilt("the check is disabled on the route by FilterConfig", tools, lookAway, perRoute(envoy.CheckFilter, &routev3.FilterConfig{Disabled: true}))
	f.spoilt("check and guard are disabled on the route", tools, lookAway[1:], func(c *verifyenvoy.Config) {
		perRoute(envoy.CheckFilter, unchecked)(c)
		perRoute(envoy.GuardFilter, &guardv3.RBACPerRoute{})(c)
	})
	// The recorders see what arrives where nothing judges any more.
	f.start(func(c *verifyenvoy.Config) {
		perRoute(envoy.CheckFilter, unchecked)(c)
		perRoute(envoy.GuardFilter, &guardv3.RBACPerRoute{})(c)
		perRoute(envoy.EgressFilter, &routev3.FilterConfig{Disabled: true})(c)
	})
	f.h1("GET /ath/proxy/tools/x HTTP/1.1", "Host: self.test:"+f.grpc.port)()
	if f.grpc.connections.Load() == 0 {
		t.Error("with check, guard and judge of addresses away nothing arrives either: this test would see nothing")
	}
}

// requests are an agent's, with a token for tools.
func (f *forbidden) requests(tools *api) []trial {
	const line = "GET /ath/proxy/tools/x HTTP/1.1"
	closed := "closed.test:" + f.closed.port
	all := []trial{
		{"nothing unusual", f.h1(line, "Host: gw.test"), []string{"API"}},
		{"no token", f.raw(line, "Host: gw.test"), []string{"401"}},
		{"a token for another provider", f.raw(line, "Host: gw.test", "Authorization: Bearer "+token("file"), "X-ATH-Agent-ID: "+agentID), []string{"403"}},
		{"Host: a closed name", f.h1(line, "Host: "+closed), []string{"API"}},
		{"Host: Envoy's admin", f.h1(line, "Host: "+f.admin), []string{"API"}},
		{"Host: with another port", f.h1(line, "Host: api.tools.test:1"), []string{"API"}},
		{"Host: with a user", f.h1(line, "Host: api.tools.test@"+closed), []string{"400", "API"}},
		{"two Host headers", f.h1(line, "Host: gw.test", "Host: "+closed), []string{"API", "400"}},
		{"no Host header", f.h1(line), []string{"400"}},
		{":authority and host differ, HTTP/2", f.h2("GET", "gw.test", "/ath/proxy/tools/x", "host", closed), []string{"API", "400", "reset"}},
		{":authority a closed name, HTTP/2", f.h2("GET", closed, "/ath/proxy/tools/x"), []string{"API"}},
		{"absolute form: a closed name", f.h1("GET http://"+closed+"/ath/proxy/tools/x HTTP/1.1", "Host: gw.test"), []string{"API"}},
		{"absolute form: elsewhere", f.h1("GET http://"+closed+"/secret HTTP/1.1", "Host: gw.test"), []string{"403"}},
		{"absolute form: https", f.h1("GET https://"+closed+"/ath/proxy/tools/x HTTP/1.1", "Host: gw.test"), []string{"403"}},
		{"CONNECT", f.h1("CONNECT "+closed+" HTTP/1.1", "Host: "+closed), []string{"405"}},
		{"CONNECT, HTTP/2", f.h2("CONNECT", closed, ""), []string{"405", "reset"}},
		{"CONNECT with a path, HTTP/2", f.h2("CONNECT", closed, "/ath/proxy/tools/x", ":protocol", "websocket"), []string{"403", "405", "reset"}},
		{"Upgrade: websocket, without a rule", f.h1(line, "Host: gw.test", "Connection: upgrade", "Upgrade: websocket"), []string{"403"}},
		{"Upgrade: h2c", f.h1(line, "Host: gw.test", "Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), []string{"403", "API"}},
		{"Upgrade: CONNECT", f.h1(line, "Host: gw.test", "Connection: upgrade", "Upgrade: CONNECT"), []string{"403", "400", "405"}},
	}
	for _, header := range []string{
		"x-envoy-original-dst-host: " + f.admin, "x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-upstream-rq-per-try-timeout-ms: 1", "x-envoy-original-path: /ath/token",
		"x-envoy-retry-on: 5xx", "x-envoy-upstream-alt-stat-name: x", "x-envoy-decorator-operation: x", "x-envoy-internal: true", "x-envoy-upstream-stream-duration-ms: 1",
		"x-ath-upstream: http", "x-ath-host: " + closed, "x-ath-provider: file", "x-ath-allow: true", "x-ath-stream-ms: 1", "ath-host: " + closed,
		"x-forwarded-host: " + closed, "x-forwarded-proto: http", "x-forwarded-port: 1", "forwarded: host=" + closed, "x-original-url: /ath/token", "x-rewrite-url: /ath/token",
		"x-http-method-override: CONNECT", "x-host: " + closed,
	} {
		all = append(all, trial{header, f.h1(line, "Host: gw.test", header), []string{"API"}})
	}
	for _, path := range []string{
		"/ath/proxy//x", "/ath/proxy/" + closed + "/x", "/ath/proxy/http://" + closed + "/x", "/ath/proxy/tools@" + closed + "/x", "/ath/proxy/tools/../" + closed + "/x",
		"/ath/proxy/tools/%2e%2e/file/x", "/ath/proxy/tools%2f..%2ffile/x", "/ath/proxy/tools;file/x", "/ath/proxy/TOOLS/x", "/ath/proxy/file/x", "/ath/proxy", "/ath/proxy/", "/ath/proxy/tools",
	} {
		all = append(all, trial{"path " + path, f.h1("GET "+path+" HTTP/1.1", "Host: gw.test"), []string{"400", "401", "403", "404"}})
	}
	for _, rest := range []string{"//" + closed + "/x", "/http://" + closed + "/", "/@" + closed, "/x?url=http://" + closed, "/x/..;/..;/ath/token", "/ath/token", "/ath/proxy/file/x"} {
		all = append(all, trial{"path /ath/proxy/tools" + rest, f.h1("GET /ath/proxy/tools"+rest+" HTTP/1.1", "Host: gw.test"), []string{"API", "400", "403"}})
	}
	return all
}

// destinations are of providers that name what none may. What faces operators refuses
// most of them; this is what is left if it did not.
func (f *forbidden) destinations() []trial {
	_, admin, _ := net.SplitHostPort(f.admin)
	_, public, _ := net.SplitHostPort(f.public)
	var all []trial
	for _, scheme := range []string{"https", "http"} {
		for _, to := range []struct{ what, at string }{
			{"a closed address", closedIP + ":" + f.closed.port}, {"a name of a closed address", "closed.test:" + f.closed.port},
			{"Envoy's admin", f.admin}, {"a name of Envoy's admin", "self.test:" + admin}, {"Envoy's admin by ::1", "self6.test:" + admin},
			{"Envoy's admin by a mapped address", "[::ffff:127.0.0.1]:" + admin}, {"a name of that", "mapped.test:" + admin}, {"Envoy's admin by another spelling", "127.1:" + admin},
			{"Envoy's admin by a number", "2130706433:" + admin}, {"Envoy's admin by 127.0.0.9", "127.0.0.9:" + admin},
			{"athd's HTTP listener", f.companion.addr}, {"a name of it", "self.test:" + f.companion.port}, {"athd's gRPC listener", f.grpc.addr}, {"a name of it, gRPC", "self.test:" + f.grpc.port},
			{"public_url, a loop", f.public}, {"a name of public_url", "self.test:" + public},
			{"the metadata service", "169.254.169.254:80"}, {"a name of the metadata service", "meta.test:80"},
		} {
			for _, base := range []string{"", "/ath/token", "//", "/ath/proxy/file/"} {
				if base != "" && to.at != f.public && to.at != f.companion.addr {
					continue // where a path would mean something
				}
				// What athd would not have taken, it does not send anywhere either: 500.
				all = append(all, trial{to.what + ": " + scheme + "://" + to.at + base, func() string {
					if _, faults := read("to", scheme+"://"+to.at+base); len(faults) > 0 {
						return "cannot be added"
					}
					f.add("to", scheme+"://"+to.at+base)
					return f.written(f.agents("to", "GET /ath/proxy/to/x HTTP/1.1", "Host: gw.test"))
				}, []string{"503", "500", "cannot be added"}})
			}
		}
	}
	return all
}

// table tries all, and says of each what became of it.
func (f *forbidden) table(how string, tools *api, all []trial) {
	f.t.Helper()
	var out strings.Builder
	for _, one := range all {
		reached, before, sent := len(tools.seen()), f.elsewhere(), f.counted("http.public.downstream_rq_total")
		outcome := one.ask()
		if seen := tools.seen()[reached:]; len(seen) > 0 {
			if outcome != "200" { // no header of an agent's makes it end sooner
				f.t.Errorf("%s: %s: the API was reached, and the answer is %s", how, one.name, outcome)
			}
			outcome = "API"
			for _, q := range seen {
				if q.Host != "api.tools.test:"+tools.port || !strings.HasPrefix(q.RequestURI, "/v2/") || q.Header.Get("Authorization") != "Bearer "+userToken {
					f.t.Errorf("%s: %s: the API saw host %q, path %q, Authorization %q", how, one.name, q.Host, q.RequestURI, q.Header.Get("Authorization"))
				}
			}
		}
		if !slices.Contains(one.want, outcome) {
			f.t.Errorf("%s: %s: %s, want %s", how, one.name, outcome, strings.Join(one.want, " or "))
		}
		if n := f.counted("http.public.downstream_rq_total") - sent; n > 1 {
			f.t.Errorf("%s: %s: Envoy called itself: %d requests", how, one.name, n)
		}
		for what, n := range f.elsewhere() {
			if n != before[what] {
				f.t.Errorf("%s: %s: %d arrived at %s", how, one.name, n-before[what], what)
			}
		}
		fmt.Fprintf(&out, "%-78s %s\n", one.name, outcome)
	}
	f.t.Logf("%s: %d trials; nothing else was reached\n%s", how, len(all), &out)
}

// elsewhere counts what arrived at each place at which nothing may.
func (f *forbidden) elsewhere() map[string]int {
	f.t.Helper()
	admin := f.counted("http.admin.downstream_rq_total")
	out := map[string]int{
		"a closed address": int(f.closed.connections.Load()), "athd's gRPC listener": int(f.grpc.connections.Load()),
		"the app": int(f.app.connections.Load()), "the API of a file": int(f.file.connections.Load()),
		"athd's HTTP listener": 0,
		"Envoy's admin":        admin - f.asked, // it counts these questions, too
	}
	for _, q := range f.companion.seen() {
		if q.URL.Path != ath.DrainHealthPath {
			out["athd's HTTP listener"]++
		}
	}
	return out
}

// counted is one of Envoy's counters.
func (f *forbidden) counted(name string) int {
	f.t.Helper()
	f.asked++
	_, n, _ := strings.Cut(f.envoy.Admin("/stats?filter=^"+name+"$"), ": ")
	out, err := strconv.Atoi(strings.TrimSpace(n))
	if err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	return out
}

// spoilt starts Envoy again with a configuration that somebody has changed, and tries
// all on it.
func (f *forbidden) spoilt(how string, tools *api, all []trial, change func(*verifyenvoy.Config)) {
	f.t.Helper()
	f.start(change)
	f.table(how, tools, all)
}

func (f *forbidden) start(change func(*verifyenvoy.Config)) {
	f.t.Helper()
	c := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(f.t, []byte(f.config))}
	change(&c)
	text, err := protojson.Marshal(c.Bootstrap)
	if err != nil {
		f.t.Fatal(err)
	}
	f.envoy.Stop()
	f.envoy, f.asked = realenvoy.Start(f.t, text), 0
}

// perRoute sets what the run-time providers' route says to a filter.
func perRoute(filter string, setting proto.Message) func(*verifyenvoy.Config) {
	return func(c *verifyenvoy.Config) {
		c.Manager(func(m *hcmv3.HttpConnectionManager) {
			for _, h := range m.GetRouteConfig().VirtualHosts {
				for _, r := range h.Routes {
					if r.Name != envoy.RuntimeRoute {
						continue
					}
					packed, err := anypb.New(setting)
					if err != nil {
						panic(err)
					}
					r.TypedPerFilterConfig[filter] = packed
				}
			}
		})
	}
}

func (f *forbidden) agents(id string, lines ...string) string {
	return text(append(lines, "Authorization: Bearer "+token(id), "X-ATH-Agent-ID: "+agentID)...)
}

func text(lines ...string) string { return strings.Join(append(lines, "", ""), "\r\n") }

// h1 asks as the agent does that may call tools; raw asks as somebody.
func (f *forbidden) h1(lines ...string) func() string {
	return func() string { return f.written(f.agents("tools", lines...)) }
}

func (f *forbidden) raw(lines ...string) func() string {
	return func() string { return f.written(text(lines...)) }
}

func (f *forbidden) dial() net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.envoy.Addr("public"))
	if err != nil {
		f.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// written sends these bytes and returns the status of the answer.
func (f *forbidden) written(request string) string {
	f.t.Helper()
	conn := f.dial()
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		f.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "closed"
	}
	res.Body.Close()
	return strconv.Itoa(res.StatusCode)
}

// h2 asks by HTTP/2, with these fields beside the agent's.
func (f *forbidden) h2(method, authority, path string, more ...string) func() string {
	fields := []string{":method", method, ":authority", authority}
	if path != "" {
		fields = append(fields, ":scheme", "http", ":path", path)
	}
	pseudo := 0
	for pseudo+1 < len(more) && strings.HasPrefix(more[pseudo], ":") {
		pseudo += 2
	}
	fields = slices.Concat(fields, more[:pseudo], []string{"authorization", "Bearer " + token("tools"), "x-ath-agent-id", agentID}, more[pseudo:])
	return func() string {
		conn := f.dial()
		defer conn.Close()
		io.WriteString(conn, http2.ClientPreface)
		framer := http2.NewFramer(conn, conn)
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		framer.WriteSettings()
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for i := 0; i+1 < len(fields); i += 2 {
			e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: method != http.MethodConnect})
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return "closed"
			}
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				return frame.PseudoValue("status")
			case *http2.RSTStreamFrame, *http2.GoAwayFrame:
				return "reset"
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					framer.WriteSettingsAck()
				}
			}
		}
	}
}
