// Package envoyconfig has configurations of Envoy for tests: what athd bootstrap
// writes for several set-ups, read back.
package envoyconfig

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realenvoy"
)

// MustURL is url.Parse for constants.
func MustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// GatewayProvider is an API behind /ath/proxy/.
func GatewayProvider(t testing.TB, id, base string) *provider.Provider {
	return &provider.Provider{ID: id, APIBase: MustURL(t, base)}
}

// AppProvider is an app of the operator's own.
func AppProvider(t testing.TB, id, upstream, prefix string, hosts ...string) *provider.Provider {
	u := MustURL(t, upstream)
	return &provider.Provider{ID: id, APIBase: u, App: &provider.App{Upstream: u, Hosts: ath.MustParseHosts(hosts...), PathPrefix: prefix}}
}

// Set is provider.NewSet of providers that fit.
func Set(t testing.TB, list ...*provider.Provider) *provider.Set {
	t.Helper()
	s, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Variants are the configurations that the tests of what is written and of what
// is read look at, by name.
func Variants(t testing.TB) map[string]bootstrap.Config {
	authority := realenvoy.NewAuthority(t)
	certFile, keyFile := authority.Issue("localhost")
	plain := bootstrap.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: []string{"unix:/run/athd/authz.sock"},
		Companion: []string{"127.0.0.1:9000"}, PublicURL: "http://localhost:8080", CAFile: authority.CAFile,
	}
	apis := []*provider.Provider{
		GatewayProvider(t, "github", "https://api.github.com"),
		GatewayProvider(t, "calendar", "https://www.googleapis.com/calendar/v3"),
		GatewayProvider(t, "plain", "http://127.0.0.1:9999/base/"),
		GatewayProvider(t, "address", "https://192.0.2.1:8443"),
		GatewayProvider(t, "authz", "http://[::1]:80"),
	}
	apps := []*provider.Provider{
		AppProvider(t, "shop", "http://127.0.0.1:3000", ""),
		AppProvider(t, "blog", "https://blog.internal:8443/base", "/blog", "Blog.example.com:8080", "www.example.com"),
		AppProvider(t, "rpc", "h2c://rpc:50051", "", "rpc.example.com"),
		AppProvider(t, "wiki", "http://wiki:80", "", "www.example.com"),
	}
	gateway, native, both, tls := plain, plain, plain, plain
	gateway.Providers, native.Providers = Set(t, apis...), Set(t, apps...)
	both.Providers = Set(t, append(apis, apps...)...)
	tls.Providers = both.Providers
	tls.ListenTLS = []bootstrap.TLSFiles{{CertFile: certFile, KeyFile: keyFile}}
	tls.AthdTLS = &bootstrap.ClientTLSFiles{CertFile: certFile, KeyFile: keyFile, CAFile: authority.CAFile, ServerName: "athd"}
	tls.Authz, tls.Companion = []string{"athd:9001"}, []string{"athd:9000"}
	tls.Admin, tls.PublicURL = "", "https://localhost:8443"
	replicas := both
	replicas.Authz = []string{"unix:/run/a/authz.sock", "unix:/run/b/authz.sock"}
	replicas.Companion = []string{"athd-a:9000", "athd-b:9000", "192.0.2.7:9000"}
	empty := plain
	empty.Providers = Set(t)
	apart := both
	apart.ConsentURL = "http://consent.localhost:8080"
	scripts := apart
	scripts.AllowedOrigins = []string{"https://app.example", "http://localhost:3000"}
	runtime, http := scripts, both
	runtime.RuntimeProviders, http.RuntimeProviders = true, true
	http.Egress = egress.Policy{
		Allow: []egress.Exception{
			{Addresses: netip.MustParsePrefix("10.20.0.0/16")}, {Addresses: netip.MustParsePrefix("127.0.0.1/32"), Port: 3000, HTTP: true},
			{Addresses: netip.MustParsePrefix("fd12:3456::/48"), Port: 8443},
		},
		Own: []egress.Listener{
			{What: "listen.http", Addr: netip.MustParseAddr("127.0.0.1"), Port: 9000}, {What: "envoy.athd_grpc", Port: 9001},
			{What: "envoy.admin", Addr: netip.MustParseAddr("10.20.0.1"), Port: 9901},
		},
	}
	process, watched, kept := runtime, runtime, http
	process.Providers = Set(t, append(slices.Clone(apis), apps[0], AppProvider(t, "club", "http://club:80", "", "club.example.com"))...)
	process.Providers.Get("club").App.Passthrough = true
	process.ByExtProc, process.TrustedHops, process.WatchesStreams, process.ChecksReplies = true, 1, true, true
	watched.WatchesStreams = true
	kept.ByExtProc, kept.WatchesStreams, kept.KeepsStreams = true, true, true
	kept.Authz = replicas.Authz
	healed := plain
	healed.Providers = Set(t,
		GatewayProvider(t, "github", "https://api.github.com"), GatewayProvider(t, "plain", "http://127.0.0.1:9999/base/"),
		AppProvider(t, "shop", "http://127.0.0.1:3000", ""), AppProvider(t, "rpc", "h2c://rpc:50051", "", "rpc.example.com"))
	for _, id := range []string{"github", "shop", "rpc"} {
		healed.Providers.Get(id).RetryOn401 = true
	}
	return map[string]bootstrap.Config{"healed": healed, "ext_proc, replies checked": process, "watched": watched, "ext_proc, streams kept": kept, "run time": runtime, "run time, by http too": http, "scripts": scripts, "consent apart": apart, "gateway": gateway, "native": native, "both": both, "tls": tls, "replicas": replicas, "no provider": empty}
}

// ByExtProc are the configurations in which athd is asked by ext_proc, in the place of
// ext_authz or beside it, by name.
func ByExtProc(t testing.TB) map[string]bootstrap.Config {
	all := Variants(t)
	watched, process, kept, secure := all["run time"], all["run time"], all["run time, by http too"], all["tls"]
	watched.WatchesStreams = true
	process.Providers = Set(t,
		GatewayProvider(t, "github", "https://api.github.com"), AppProvider(t, "shop", "http://127.0.0.1:3000", ""),
		AppProvider(t, "club", "http://club:80", "", "club.example.com"))
	process.Providers.Get("club").App.Passthrough = true
	process.ByExtProc, process.TrustedHops, process.WatchesStreams, process.ChecksReplies = true, 1, true, true
	kept.ByExtProc, kept.WatchesStreams, kept.KeepsStreams = true, true, true
	kept.Authz = []string{"athd-a:9001", "athd-b:9001"}
	secure.ByExtProc, secure.ChecksReplies = true, true
	return map[string]bootstrap.Config{"watched": watched, "ext_proc, replies checked": process, "ext_proc, streams kept": kept, "ext_proc, tls": secure}
}

// Generate is bootstrap.Generate of what fits.
func Generate(t testing.TB, c bootstrap.Config) []byte {
	t.Helper()
	out, err := bootstrap.Generate(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Parse reads the YAML back, strictly: an unknown field is an error.
func Parse(t testing.TB, config []byte) *bootstrapv3.Bootstrap {
	t.Helper()
	var tree any
	if err := yaml.Load(config, &tree); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Unpack decodes an Any into m, and returns it.
func Unpack[M proto.Message](t testing.TB, a *anypb.Any, m M) M {
	t.Helper()
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Manager returns the connection manager of the first listener.
func Manager(t testing.TB, b *bootstrapv3.Bootstrap) *hcmv3.HttpConnectionManager {
	t.Helper()
	filter := b.StaticResources.Listeners[0].FilterChains[0].Filters[0]
	return Unpack(t, filter.GetTypedConfig(), &hcmv3.HttpConnectionManager{})
}
