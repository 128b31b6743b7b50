package bootstrap_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/realenvoy"
)

func TestBootstrapIsTakenByEnvoy(t *testing.T) {
	for name, c := range everyVariant(t) {
		t.Run(name, func(t *testing.T) { realenvoy.Validate(t, envoyconfig.Generate(t, c)) })
	}
}

func everyVariant(t *testing.T) map[string]bootstrap.Config {
	out := envoyconfig.Variants(t)
	maps.Copy(out, envoyconfig.ByExtProc(t))
	return out
}

func TestBootstrapIsStableBlockStyleYAML(t *testing.T) {
	for name, c := range everyVariant(t) {
		t.Run(name, func(t *testing.T) {
			first := envoyconfig.Generate(t, c)
			for range 5 {
				if !bytes.Equal(first, envoyconfig.Generate(t, c)) {
					t.Fatal("equal configurations gave different bytes")
				}
			}
			for line := range strings.Lines(string(first)) {
				if trimmed := strings.TrimLeft(line, " -"); strings.HasPrefix(trimmed, "{") && !strings.HasPrefix(trimmed, "{}") {
					t.Errorf("not block style: %s", line)
				}
			}
			if !strings.HasPrefix(string(first), "# Envoy's configuration") {
				t.Error("no heading")
			}
		})
	}
}

// The invariant that everything rests on: whatever leads to a provider is
// checked, and the guard wants that provider's name.
// proves: P-3
func TestEveryRouteToAProviderIsCheckedAndGuarded(t *testing.T) {
	for name, c := range everyVariant(t) {
		t.Run(name, func(t *testing.T) {
			reached := map[string]bool{}
			for _, host := range envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, c))).GetRouteConfig().VirtualHosts {
				for _, route := range host.Routes {
					if id := checkRoute(t, route); id != "" {
						reached[id] = true
					}
				}
			}
			for _, p := range c.Providers.All() {
				if !reached[p.ID] {
					t.Errorf("no route leads to %q", p.ID)
				}
			}
		})
	}
}

// checkRoute returns the provider that a route leads to, or "".
func checkRoute(t *testing.T, route *routev3.Route) string {
	t.Helper()
	extensions, disabled := told(t, route)
	var guard guardv3.RBACPerRoute
	if a := route.TypedPerFilterConfig["envoy.filters.http.rbac"]; a != nil {
		envoyconfig.Unpack(t, a, &guard)
	}
	action := route.GetRoute()
	if action.GetCluster() == envoy.RuntimeCluster {
		checkRuntimeRoute(t, route, &guard)
		return ""
	}
	id, isProvider := strings.CutPrefix(action.GetCluster(), "provider_")
	if !isProvider {
		open := action.GetCluster() == "athd_companion" || route.GetDirectResponse().GetStatus() == 404
		if !open {
			t.Errorf("route %q leads to %v, which is neither a provider, nor the companion, nor a 404", route.Name, route.Action)
		}
		if len(extensions) > 0 {
			t.Errorf("route %q tells a provider but leads to none", route.Name)
		}
		return ""
	}
	if disabled || extensions["ath_provider"] != id || extensions["ath_stream"] != envoy.HeaderStream {
		t.Errorf("route %q leads to %q, but its check is told %v (disabled: %v)", route.Name, id, extensions, disabled)
	}
	mount, rewrite := route.Match.GetPrefix(), action.PrefixRewrite
	switch {
	case strings.HasPrefix(route.Name, "proxy_"):
		if mount != "/ath/proxy/"+id+"/" || extensions["ath_mount"] != mount || !strings.HasSuffix(rewrite, "/") || rewrite[0] != '/' {
			t.Errorf("route %q: match %q, mount %q, rewrite %q", route.Name, mount, extensions["ath_mount"], rewrite)
		}
	default:
		if _, there := extensions["ath_mount"]; there {
			t.Errorf("native route %q tells a mount", route.Name)
		}
	}
	if !wants(guard.GetRbac().GetRules(), id) {
		t.Errorf("route %q: the guard does not want provider %q: %v", route.Name, id, guard.GetRbac())
	}
	if action.GetTimeout() == nil || action.GetTimeout().AsDuration() != 0 || action.GetIdleTimeout().AsDuration() == 0 {
		t.Errorf("route %q: streams would be cut, or live in silence", route.Name)
	}
	if action.GetRetryPolicy() != nil && action.GetRetryPolicy().GetRetryOn() != envoy.RetryMarked { // of which TestNothingThatMayHaveArrivedIsSentAgain says more
		t.Errorf("route %q repeats requests", route.Name)
	}
	if route.TypedPerFilterConfig["envoy.filters.http.header_mutation"] == nil {
		t.Errorf("route %q has no header mutation", route.Name)
	}
	return id
}

// told is what a route tells athd, by the names of the context extensions.
func told(t *testing.T, route *routev3.Route) (extensions map[string]string, disabled bool) {
	t.Helper()
	check, process := route.TypedPerFilterConfig["envoy.filters.http.ext_authz"], route.TypedPerFilterConfig["athd.judge"]
	switch {
	case (check == nil) == (process == nil):
		t.Errorf("route %q speaks to %d filters that judge", route.Name, len(route.TypedPerFilterConfig))
	case check != nil:
		of := envoyconfig.Unpack(t, check, &extauthzv3.ExtAuthzPerRoute{})
		return of.GetCheckSettings().GetContextExtensions(), of.GetDisabled()
	default:
		of := envoyconfig.Unpack(t, process, &extprocv3.ExtProcPerRoute{})
		if o := of.GetOverrides(); o.GetProcessingMode() != nil || o.GetGrpcService() != nil || o.GetMetadataOptions() != nil || o.GetFailureModeAllow() != nil {
			t.Errorf("route %q changes more than what athd is told: %v", route.Name, o)
		}
		extensions = map[string]string{}
		for _, h := range of.GetOverrides().GetGrpcInitialMetadata() {
			extensions[strings.ReplaceAll(strings.TrimPrefix(h.Key, "x-"), "-", "_")] = h.Value
		}
		return extensions, of.GetDisabled()
	}
	return nil, false
}

// wants reports whether rules admit nothing but ath_allow, and with an id only
// that provider.
func wants(rules *rbacv3.RBAC, id string) bool {
	if rules.GetAction() != rbacv3.RBAC_ALLOW || len(rules.GetPolicies()) != 1 {
		return false
	}
	for _, policy := range rules.Policies {
		if len(policy.Principals) != 1 {
			return false
		}
		all := policy.Principals
		if and := all[0].GetAndIds(); and != nil {
			all = and.Ids
		}
		found := map[string]string{}
		for _, p := range all {
			m := p.GetSourcedMetadata().GetMetadataMatcher()
			if m.GetFilter() != "envoy.filters.http.ext_authz" || len(m.GetPath()) != 1 {
				return false
			}
			value := m.GetValue().GetStringMatch().GetExact()
			if m.GetValue().GetBoolMatch() {
				value = "true"
			}
			found[m.Path[0].GetKey()] = value
		}
		if found["ath_allow"] != "true" || found["provider"] != id {
			return false
		}
	}
	return true
}

func TestFilterChainClosesWhatFails(t *testing.T) {
	for name, c := range everyVariant(t) {
		t.Run(name, func(t *testing.T) {
			m := envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, c)))
			var names []string
			for _, f := range m.HttpFilters {
				names = append(names, strings.TrimPrefix(f.Name, "envoy.filters.http."))
				if f.IsOptional || f.Disabled && f.Name != "envoy.filters.http.buffer" && f.Name != envoy.TransportFilter && f.Name != envoy.LookupFilter {
					t.Errorf("filter %s may be missing", f.Name)
				}
			}
			filters, want := m.HttpFilters, []string{"ext_authz", "rbac", "header_mutation", "buffer", "router"}
			if c.RuntimeProviders {
				want = slices.Insert(want, 4, envoy.TransportFilter, "dynamic_forward_proxy")
			}
			if c.ChecksReplies {
				want = slices.Insert(want, 3, envoy.ReplyFilter)
			}
			if c.WatchesStreams {
				want = slices.Insert(want, 3, envoy.WatchFilter)
			}
			if c.ChecksReplies {
				want = slices.Insert(want, 3, envoy.ReplyTrailersFilter)
			}
			if c.ByExtProc {
				want[0] = envoy.JudgeFilter
				if slices.ContainsFunc(c.Providers.Apps(), func(p *provider.Provider) bool { return p.App.Passthrough }) {
					want = slices.Insert(want, 3, envoy.CookiesFilter)
				}
			}
			if len(c.AllowedOrigins) > 0 {
				filters, want = filters[1:], slices.Insert(want, 0, "cors")
			}
			if !slices.Equal(names, want) {
				t.Fatalf("filters %v, want %v", names, want)
			}
			if c.ByExtProc {
				checkJudging(t, envoyconfig.Unpack(t, filters[0].GetTypedConfig(), &extprocv3.ExternalProcessor{}))
			} else {
				checkAsking(t, envoyconfig.Unpack(t, filters[0].GetTypedConfig(), &extauthzv3.ExtAuthz{}))
			}
			if guard := envoyconfig.Unpack(t, filters[1].GetTypedConfig(), &guardv3.RBAC{}); !wants(guard.GetRules(), "") {
				t.Errorf("the guard admits more than allow replies: %v", guard)
			}
		})
	}
}

func checkAsking(t *testing.T, check *extauthzv3.ExtAuthz) {
	t.Helper()
	rules := check.GetDecoderHeaderMutationRules()
	switch {
	case check.FailureModeAllow, check.ShadowMode, check.FilterEnabled != nil, check.ClearRouteCache:
		t.Error("the check can be passed without an answer")
	case check.GetStatusOnError().GetCode() != 503:
		t.Error("a check that fails does not answer 503")
	case !check.EncodeRawHeaders:
		t.Error("headers would come joined and paths sanitized")
	case !check.ValidateMutations || !rules.GetDisallowAll().GetValue() || !rules.GetDisallowIsError().GetValue():
		t.Error("the reply may change any header")
	case check.GetGrpcService().GetTimeout().AsDuration() <= 0:
		t.Error("the check has no timeout of its own")
	}
}

func checkJudging(t *testing.T, judge *extprocv3.ExternalProcessor) {
	t.Helper()
	rules, mode := judge.GetMutationRules(), judge.GetProcessingMode()
	switch {
	case judge.FailureModeAllow, judge.ObservabilityMode, judge.AllowModeOverride, judge.DisableImmediateResponse, judge.GetMaxMessageTimeout() != nil:
		t.Error("athd can be passed without an answer")
	case mode.GetRequestHeaderMode() != extprocv3.ProcessingMode_SEND, mode.GetResponseHeaderMode() != extprocv3.ProcessingMode_SKIP,
		mode.GetRequestBodyMode() != extprocv3.ProcessingMode_NONE, mode.GetResponseBodyMode() != extprocv3.ProcessingMode_NONE:
		t.Errorf("athd is told of %v", mode)
	case judge.GetStatusOnError().GetCode() != 503:
		t.Error("a stream that fails does not answer 503")
	case !rules.GetDisallowAll().GetValue() || !rules.GetDisallowIsError().GetValue():
		t.Error("the answer may change any header")
	case judge.GetMessageTimeout().AsDuration() <= 0:
		t.Error("the judge has no timeout of its own")
	case judge.GetRouteCacheAction() != extprocv3.ExternalProcessor_RETAIN:
		t.Error("an answer may lead to another route than the one that was judged")
	case !slices.Equal(judge.GetMetadataOptions().GetReceivingNamespaces().GetUntyped(), []string{"envoy.filters.http.ext_authz"}):
		t.Error("the guard does not see what athd says")
	}
}

func TestEveryTLSLinkVerifies(t *testing.T) {
	c := everyVariant(t)["ext_proc, tls"]
	want := map[string]string{
		"athd_authz": "athd", "athd_streams": "athd", "athd_companion": "athd", "provider_github": "api.github.com",
		"provider_calendar": "www.googleapis.com", "provider_address": "192.0.2.1", "provider_blog": "blog.internal",
	}
	for _, cluster := range envoyconfig.Parse(t, envoyconfig.Generate(t, c)).StaticResources.Clusters {
		if cluster.TransportSocket == nil {
			if name, secure := want[cluster.Name]; secure {
				t.Errorf("%s: plaintext, want TLS with %s", cluster.Name, name)
			}
			continue
		}
		tls := envoyconfig.Unpack(t, cluster.TransportSocket.GetTypedConfig(), &tlsv3.UpstreamTlsContext{})
		validation := tls.GetCommonTlsContext().GetValidationContext()
		sans := validation.GetMatchTypedSubjectAltNames()
		if validation.GetTrustedCa().GetFilename() == "" || len(sans) != 1 || sans[0].GetMatcher().GetExact() != want[cluster.Name] || want[cluster.Name] == "" {
			t.Errorf("%s verifies %v", cluster.Name, validation)
		}
		if tls.GetCommonTlsContext().GetTlsParams().GetTlsMinimumProtocolVersion() < tlsv3.TlsParameters_TLSv1_2 {
			t.Errorf("%s accepts TLS below 1.2", cluster.Name)
		}
		isAthd := strings.HasPrefix(cluster.Name, "athd_")
		if certs := len(tls.GetCommonTlsContext().GetTlsCertificates()); isAthd != (certs == 1) {
			t.Errorf("%s shows %d client certificates", cluster.Name, certs)
		}
		if cluster.Name == "provider_address" && tls.Sni != "" {
			t.Error("an IP address as SNI")
		}
	}
}

func TestNamesNeverHoldUpOtherClusters(t *testing.T) {
	for name, c := range everyVariant(t) {
		t.Run(name, func(t *testing.T) {
			for _, cluster := range envoyconfig.Parse(t, envoyconfig.Generate(t, c)).StaticResources.Clusters {
				if cluster.GetType() == clusterv3.Cluster_STATIC && cluster.GetClusterType() == nil || cluster.Name == envoy.RuntimeCluster {
					continue // the second has no name of its own
				}
				if w := cluster.GetWaitForWarmOnInit(); cluster.GetClusterType().GetName() != "envoy.cluster.dns" || w == nil || w.GetValue() {
					t.Errorf("%s waits for its name", cluster.Name)
				}
			}
		})
	}
}

func TestVirtualHostsFollowHostsAndPrefixes(t *testing.T) {
	config := envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, envoyconfig.Variants(t)["both"]))).GetRouteConfig()
	native := map[string][]string{}
	for _, host := range config.VirtualHosts {
		if len(host.Domains) != 1 {
			t.Fatalf("virtual host with domains %v", host.Domains)
		}
		for _, route := range host.Routes {
			if strings.HasPrefix(route.Name, "app_") {
				native[host.Domains[0]] = append(native[host.Domains[0]], route.Name)
			}
		}
		if first, last := host.Routes[0].Name, host.Routes[len(host.Routes)-1].Name; first != "companion" || last != "not_found" {
			t.Errorf("%s: routes from %s to %s", host.Name, first, last)
		}
	}
	for domain, want := range map[string][]string{
		"*":                {"app_shop"},
		"blog.example.com": {"app_blog"},
		"www.example.com":  {"app_blog", "app_wiki"}, // the longer prefix first
	} {
		if !slices.Equal(native[domain], want) {
			t.Errorf("%s: apps %v, want %v", domain, native[domain], want)
		}
	}
}

func TestBootstrapNamesEveryFault(t *testing.T) {
	good := envoyconfig.Variants(t)["both"]
	tests := map[string]struct {
		change func(*bootstrap.Config)
		want   []string
	}{
		"no providers":         {func(c *bootstrap.Config) { c.Providers = nil }, []string{"providers"}},
		"listen on a name":     {func(c *bootstrap.Config) { c.Listen = "example.com:80" }, []string{"listener"}},
		"listen without port":  {func(c *bootstrap.Config) { c.Listen = "127.0.0.1" }, []string{"listener"}},
		"admin without port":   {func(c *bootstrap.Config) { c.Admin = "127.0.0.1" }, []string{"admin"}},
		"relative socket":      {func(c *bootstrap.Config) { c.Authz = []string{"unix:authz.sock"} }, []string{"absolute"}},
		"port 0 to dial":       {func(c *bootstrap.Config) { c.Companion = []string{"127.0.0.1:0"} }, []string{"dialled"}},
		"a replica twice":      {func(c *bootstrap.Config) { c.Authz = []string{"athd:1", "athd:1"} }, []string{"twice"}},
		"sockets and names":    {func(c *bootstrap.Config) { c.Authz = []string{"unix:/a", "athd:1"} }, []string{"beside"}},
		"no athd":              {func(c *bootstrap.Config) { c.Companion = nil }, []string{"athd's listeners"}},
		"two at once":          {func(c *bootstrap.Config) { c.Authz, c.Companion = []string{"x"}, []string{"y"} }, []string{`"x"`, `"y"`}},
		"https API without CA": {func(c *bootstrap.Config) { c.CAFile = "" }, []string{"github", "calendar", "CA"}},
		"TLS without key":      {func(c *bootstrap.Config) { c.ListenTLS = []bootstrap.TLSFiles{{CertFile: "x"}} }, []string{"key file"}},
		"http URL with TLS":    {func(c *bootstrap.Config) { c.ListenTLS = []bootstrap.TLSFiles{{CertFile: "x", KeyFile: "y"}} }, []string{"public URL"}},
		"TLS to athd, half":    {func(c *bootstrap.Config) { c.AthdTLS = &bootstrap.ClientTLSFiles{CertFile: "x"} }, []string{"athd's name"}},
		"one place for two apps": {func(c *bootstrap.Config) {
			c.Providers = envoyconfig.Set(t, envoyconfig.AppProvider(t, "a", "http://h", "", "H.example"), envoyconfig.AppProvider(t, "b", "http://h", "", "h.example:1"))
		}, []string{`"a"`, `"b"`}},
		"any origin": {func(c *bootstrap.Config) { c.AllowedOrigins = []string{"*"} }, []string{`"*" is not an origin`}},
		"an app under /ath": {func(c *bootstrap.Config) {
			c.Providers = envoyconfig.Set(t, envoyconfig.AppProvider(t, "a", "http://h", "/ath/x"))
		}, []string{"/ath"}},
		"prefix with slash": {func(c *bootstrap.Config) {
			c.Providers = envoyconfig.Set(t, envoyconfig.AppProvider(t, "a", "http://h", "/x/"))
		}, []string{"slash"}},
		"API without a host": {func(c *bootstrap.Config) {
			c.Providers = envoyconfig.Set(t, envoyconfig.GatewayProvider(t, "a", "https:///x"))
		}, []string{`"a"`}},
		"API with a query": {func(c *bootstrap.Config) {
			c.Providers = envoyconfig.Set(t, envoyconfig.GatewayProvider(t, "a", "https://h/x?y"))
		}, []string{`"a"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			tt.change(&c)
			out, err := bootstrap.Generate(c)
			if err == nil || out != nil {
				t.Fatal("accepted")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not report %s", err, part)
				}
			}
		})
	}
}

func TestHeadingCannotBecomeConfiguration(t *testing.T) {
	c := envoyconfig.Variants(t)["gateway"]
	c.PublicURL = "http://x\nadmin: {}\n"
	if out := envoyconfig.Generate(t, c); strings.Contains(string(out), "\nadmin: {}") {
		t.Error("a line of the public URL escaped from the comment")
	}
}
