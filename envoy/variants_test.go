package envoy_test

import (
	"encoding/json"
	"net/url"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realenvoy"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func gatewayProvider(t testing.TB, id, base string) *provider.Provider {
	return &provider.Provider{ID: id, APIBase: mustURL(t, base)}
}

func appProvider(t testing.TB, id, upstream, prefix string, hosts ...string) *provider.Provider {
	u := mustURL(t, upstream)
	return &provider.Provider{ID: id, APIBase: u, App: &provider.App{Upstream: u, Hosts: ath.MustParseHosts(hosts...), PathPrefix: prefix}}
}

func set(t testing.TB, list ...*provider.Provider) *provider.Set {
	t.Helper()
	s, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// variants are the configurations that every test below looks at.
func variants(t testing.TB) map[string]envoy.BootstrapConfig {
	authority := realenvoy.NewAuthority(t)
	certFile, keyFile := authority.Issue("localhost")
	plain := envoy.BootstrapConfig{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: []string{"unix:/run/athd/authz.sock"},
		Companion: []string{"127.0.0.1:9000"}, PublicURL: "http://localhost:8080", CAFile: authority.CAFile,
	}
	apis := []*provider.Provider{
		gatewayProvider(t, "github", "https://api.github.com"),
		gatewayProvider(t, "calendar", "https://www.googleapis.com/calendar/v3"),
		gatewayProvider(t, "plain", "http://127.0.0.1:9999/base/"),
		gatewayProvider(t, "address", "https://192.0.2.1:8443"),
		gatewayProvider(t, "authz", "http://[::1]:80"),
	}
	apps := []*provider.Provider{
		appProvider(t, "shop", "http://127.0.0.1:3000", ""),
		appProvider(t, "blog", "https://blog.internal:8443/base", "/blog", "Blog.example.com:8080", "www.example.com"),
		appProvider(t, "rpc", "h2c://rpc:50051", "", "rpc.example.com"),
		appProvider(t, "wiki", "http://wiki:80", "", "www.example.com"),
	}
	gateway, native, both, tls := plain, plain, plain, plain
	gateway.Providers, native.Providers = set(t, apis...), set(t, apps...)
	both.Providers = set(t, append(apis, apps...)...)
	tls.Providers = both.Providers
	tls.ListenTLS = []envoy.TLSFiles{{CertFile: certFile, KeyFile: keyFile}}
	tls.AthdTLS = &envoy.ClientTLSFiles{CertFile: certFile, KeyFile: keyFile, CAFile: authority.CAFile, ServerName: "athd"}
	tls.Authz, tls.Companion = []string{"athd:9001"}, []string{"athd:9000"}
	tls.Admin, tls.PublicURL = "", "https://localhost:8443"
	replicas := both
	replicas.Authz = []string{"unix:/run/a/authz.sock", "unix:/run/b/authz.sock"}
	replicas.Companion = []string{"athd-a:9000", "athd-b:9000", "192.0.2.7:9000"}
	empty := plain
	empty.Providers = set(t)
	apart := both
	apart.ConsentURL = "http://consent.localhost:8080"
	scripts := apart
	scripts.AllowedOrigins = []string{"https://app.example", "http://localhost:3000"}
	return map[string]envoy.BootstrapConfig{"scripts": scripts, "consent apart": apart, "gateway": gateway, "native": native, "both": both, "tls": tls, "replicas": replicas, "no provider": empty}
}

func generate(t testing.TB, c envoy.BootstrapConfig) []byte {
	t.Helper()
	out, err := envoy.Bootstrap(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// parse reads the YAML back, strictly: an unknown field is an error.
func parse(t testing.TB, config []byte) *bootstrapv3.Bootstrap {
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

func unpack[M proto.Message](t testing.TB, a *anypb.Any, m M) M {
	t.Helper()
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func manager(t testing.TB, b *bootstrapv3.Bootstrap) *hcmv3.HttpConnectionManager {
	t.Helper()
	filter := b.StaticResources.Listeners[0].FilterChains[0].Filters[0]
	return unpack(t, filter.GetTypedConfig(), &hcmv3.HttpConnectionManager{})
}
