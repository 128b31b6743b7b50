package verify_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/e2e/verifyenvoy"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// dumpOf is what Envoy's /config_dump says of a static configuration.
func dumpOf(t testing.TB, b *bootstrapv3.Bootstrap) []byte {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var tree struct {
		Static struct {
			Listeners, Clusters []json.RawMessage
		} `json:"static_resources"`
	}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	wrap := func(name string, list []json.RawMessage) []map[string]json.RawMessage {
		out := []map[string]json.RawMessage{}
		for _, item := range list {
			out = append(out, map[string]json.RawMessage{name: item})
		}
		return out
	}
	out, err := json.Marshal(map[string]any{"configs": []any{
		map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": wrap("listener", tree.Static.Listeners)},
		map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": wrap("cluster", tree.Static.Clusters)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func verified(t testing.TB, dump []byte, expect verify.Expectation) verify.Verification {
	t.Helper()
	v, err := verify.Verify(dump, expect)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Nothing differs in what athd bootstrap writes, in any of its variants.
func TestVerifyFindsNothingInWhatBootstrapWrites(t *testing.T) {
	all := envoyconfig.Variants(t)
	open, forge := envoyconfig.AppProvider(t, "open", "http://127.0.0.1:3000", ""), envoyconfig.GatewayProvider(t, "forge", "https://forge.example/api")
	open.App.Passthrough, forge.EncodedSlash = true, true
	special := all["gateway"]
	special.Providers = envoyconfig.Set(t, open, forge)
	all["passthrough and encoded slashes"] = special
	named := envoyconfig.AppProvider(t, "com.acme.api", "http://127.0.0.1:3000", "")
	named.Aliases = []string{"acme", "Shop"}
	several := all["gateway"]
	several.Providers = envoyconfig.Set(t, named)
	all["an app of several names"] = several
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			v := verified(t, dumpOf(t, envoyconfig.Parse(t, envoyconfig.Generate(t, c))), verify.Expectation{Providers: c.Providers, Authz: c.Authz})
			for _, f := range v.Findings {
				t.Errorf("%+v", f)
			}
			if v.Listeners != 1 || v.Clusters != 2+len(c.Providers.All()) || v.Routes < 5 {
				t.Errorf("%d listeners, %d routes, %d clusters", v.Listeners, v.Routes, v.Clusters)
			}
		})
	}
}

// Each mutation is found, and nothing else.
func TestVerifyFindsEachMutation(t *testing.T) {
	c := envoyconfig.Variants(t)["both"]
	good := envoyconfig.Parse(t, envoyconfig.Generate(t, c))
	for _, s := range verifyenvoy.Mutations() {
		t.Run(s.Name, func(t *testing.T) {
			config := verifyenvoy.Config{Bootstrap: proto.Clone(good).(*bootstrapv3.Bootstrap)}
			s.Do(&config)
			v := verified(t, dumpOf(t, config.Bootstrap), verify.Expectation{Providers: c.Providers, Authz: c.Authz})
			s.Check(t, v.Findings)
		})
	}
}

// What an older athd printed, and a running Envoy may still have, is no fault: what
// a newer one would say otherwise is told as a warning, with what to do.
func TestVerifyTakesOlderConfigurations(t *testing.T) {
	old, err := os.ReadFile("testdata/f1b7ae5.yaml")
	if err != nil {
		t.Fatal(err)
	}
	v := verified(t, dumpOf(t, envoyconfig.Parse(t, old)), verify.Expectation{
		Providers: envoyconfig.Set(t, envoyconfig.AppProvider(t, "shop", "http://127.0.0.1:3000", "")), Authz: []string{"unix:/run/athd/authz.sock"},
	})
	told := []string{
		"the API may answer with x-ath-* headers", "a request asks for another protocol", "an ATH token may be by mistake", "may outlive the agent's token",
		"bodies reach athd as slowly as they are sent", "the API sees \"remote-user\"", "the API sees \"x-auth-request-user\"", "the API sees \"x-forwarded-user\"",
		"the API sees \"cf-access-user\"", "the API sees \"ssl-client-verify\"", "the API sees \"tailscale-user-login\"",
	}
	is := func(f verify.Finding) func(string) bool {
		return func(what string) bool { return strings.Contains(f.What, what) }
	}
	for _, f := range v.Findings {
		if f.Severity != verify.Warning || f.Remedy == "" || !slices.ContainsFunc(told, is(f)) {
			t.Errorf("%+v", f)
		}
	}
	for _, what := range told {
		if !slices.ContainsFunc(v.Findings, func(f verify.Finding) bool { return is(f)(what) }) {
			t.Errorf("not told: %s", what)
		}
	}
	if v.Routes < 5 {
		t.Errorf("%d routes", v.Routes)
	}
}
