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

	"github.com/athd/athd/envoy/bootstrap"
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
			b := envoyconfig.Parse(t, envoyconfig.Generate(t, c))
			v := verified(t, dumpOf(t, b), expectationOf(c))
			for _, f := range v.Findings {
				t.Errorf("%+v", f)
			}
			if v.Listeners != 1 || v.Clusters != len(b.StaticResources.Clusters) || v.Clusters < 2+len(c.Providers.All()) || v.Routes < 5 {
				t.Errorf("%d listeners, %d routes, %d clusters", v.Listeners, v.Routes, v.Clusters)
			}
		})
	}
}

// Each mutation is found, and nothing else.
// proves: P-9
func TestVerifyFindsEachMutation(t *testing.T) {
	mustFindEach(t, envoyconfig.Variants(t)["both"], verifyenvoy.Mutations())
}

// Each mutation of the run-time providers' route is found, and nothing else.
// proves: P-9, A-7
func TestVerifyFindsEachMutationOfTheRuntimeRoute(t *testing.T) {
	mustFindEach(t, envoyconfig.Variants(t)["run time, by http too"], verifyenvoy.RuntimeMutations())
}

func mustFindEach(t *testing.T, c bootstrap.Config, all []verifyenvoy.Mutation) {
	t.Helper()
	good := envoyconfig.Parse(t, envoyconfig.Generate(t, c))
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			config := verifyenvoy.Config{Bootstrap: proto.Clone(good).(*bootstrapv3.Bootstrap)}
			s.Do(&config)
			s.Check(t, verified(t, dumpOf(t, config.Bootstrap), expectationOf(c)).Findings)
		})
	}
}

func expectationOf(c bootstrap.Config) verify.Expectation {
	return verify.Expectation{
		Providers: c.Providers, Authz: c.Authz, Runtime: c.RuntimeProviders, Egress: c.Egress,
		ByExtProc: c.ByExtProc, WatchesStreams: c.WatchesStreams, KeepsStreams: c.KeepsStreams, ChecksReplies: c.ChecksReplies,
	}
}

// Replies that are cleared in another way than the generated one are cleared.
func TestVerifyTakesOtherWaysToClearReplies(t *testing.T) {
	c := envoyconfig.Variants(t)["both"]
	good := envoyconfig.Parse(t, envoyconfig.Generate(t, c))
	for _, s := range verifyenvoy.RepliesCleared() {
		t.Run(s.Name, func(t *testing.T) {
			config := verifyenvoy.Config{Bootstrap: proto.Clone(good).(*bootstrapv3.Bootstrap)}
			s.Do(&config)
			if v := verified(t, dumpOf(t, config.Bootstrap), verify.Expectation{Providers: c.Providers, Authz: c.Authz}); len(v.Findings) > 0 {
				t.Errorf("%+v", v.Findings)
			}
		})
	}
}

// Where athd itself hears of trailers, it removes cookies of them.
// proves: P-9
func TestVerifyTakesCookiesInTrailersThatAthdChecks(t *testing.T) {
	c := envoyconfig.Variants(t)["ext_proc, replies checked"]
	config := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(t, envoyconfig.Generate(t, c))}
	verifyenvoy.CookiesInTrailers().Do(&config)
	for _, f := range verified(t, dumpOf(t, config.Bootstrap), verify.Expectation{
		Providers: c.Providers, Authz: c.Authz, ByExtProc: true, WatchesStreams: c.WatchesStreams, KeepsStreams: c.KeepsStreams, ChecksReplies: true,
	}).Findings {
		if strings.Contains(f.What, "cookies") {
			t.Errorf("%+v", f)
		}
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
		Providers: envoyconfig.Set(t, envoyconfig.AppProvider(t, "shop", "http://127.0.0.1:3000", "")), Authz: []string{"unix:/run/athd/authz.sock"}, Runtime: true,
	})
	told := []string{
		"no route leads to them: what agents ask of them is refused",
		"the API may answer with x-ath-* headers", "the API may answer with x-ath-* trailers", "a request asks for another protocol", "an ATH token may be by mistake", "may outlive the agent's token",
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

// Each mutation of a configuration in which ext_proc judges is found, and nothing else.
// proves: P-1
func TestVerifyFindsEachMutationOfTheJudge(t *testing.T) {
	mustFindEach(t, envoyconfig.Variants(t)["ext_proc, replies checked"], verifyenvoy.JudgeMutations())
}

// The same of what athd hears behind its decision, whichever filter asks for that.
// proves: V-4
func TestVerifyFindsEachMutationOfTheWatch(t *testing.T) {
	c := envoyconfig.Variants(t)["ext_proc, replies checked"]
	mustFindEach(t, c, verifyenvoy.WatchMutations())
	c.ByExtProc = false
	mustFindEach(t, c, verifyenvoy.WatchMutations())
}
