package into_test

import (
	"encoding/json"
	"slices"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/into"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/e2e/verifyenvoy"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// In somebody's own Envoy, too, each way to break the route of run-time providers is
// found, and nothing else.
// proves: P-9, A-7
func TestEachMutationOfTheRuntimeRouteIsFoundInSomebodysEnvoy(t *testing.T) {
	c := shop(t)
	of := envoyconfig.Variants(t)["run time, by http too"]
	c.RuntimeProviders, c.Egress, c.CAFile = true, of.Egress, of.CAFile
	c.Providers = envoyconfig.Set(t, envoyconfig.AppProvider(t, verifyenvoy.App, "http://127.0.0.1:3000", "/api"),
		envoyconfig.GatewayProvider(t, verifyenvoy.Provider, "https://"+verifyenvoy.Host))
	mustFindEach(t, c, verify.Expectation{Providers: c.Providers, Authz: c.Authz, Runtime: true, Egress: c.Egress}, verifyenvoy.RuntimeMutations())
}

// The same where ext_proc judges, streams are watched and replies checked.
// proves: P-1, V-4
func TestEachMutationOfExtProcIsFoundInSomebodysEnvoy(t *testing.T) {
	c := shop(t)
	c.ByExtProc, c.WatchesStreams, c.ChecksReplies, c.CAFile = true, true, true, envoyconfig.Variants(t)["both"].CAFile
	c.Providers = envoyconfig.Set(t, envoyconfig.AppProvider(t, verifyenvoy.App, "http://127.0.0.1:3000", "/api"),
		envoyconfig.GatewayProvider(t, verifyenvoy.Provider, "https://"+verifyenvoy.Host))
	c.Providers.Get(verifyenvoy.Provider).RetryOn401 = true
	expect := verify.Expectation{Providers: c.Providers, Authz: c.Authz, ByExtProc: true, WatchesStreams: true, ChecksReplies: true}
	mustFindEach(t, c, expect, slices.Concat(verifyenvoy.JudgeMutations(), verifyenvoy.WatchMutations()))
}

// mustFindEach inserts parts, and breaks what comes out in one place after the other.
func mustFindEach(t *testing.T, c bootstrap.Config, expect verify.Expectation, mutations []verifyenvoy.Mutation) {
	t.Helper()
	r := inserted(t, before(t), into.Config{Parts: c})
	good := envoyconfig.Parse(t, r.Text)
	found := func(t *testing.T, b *bootstrapv3.Bootstrap) []verify.Finding {
		t.Helper()
		v, err := verify.Verify(staticDump(t, b), expect)
		if err != nil {
			t.Fatal(err)
		}
		return v.Findings
	}
	if all := found(t, good); len(all) > 0 {
		t.Fatalf("%+v", all)
	}
	for _, s := range mutations {
		t.Run(s.Name, func(t *testing.T) {
			spoiled := verifyenvoy.Config{Bootstrap: proto.Clone(good).(*bootstrapv3.Bootstrap)}
			s.Do(&spoiled)
			s.Check(t, found(t, spoiled.Bootstrap))
		})
	}
}

// staticDump is what Envoy's /config_dump says of a static configuration.
func staticDump(t *testing.T, b *bootstrapv3.Bootstrap) []byte {
	t.Helper()
	listed := func(kind, list, name string, all ...proto.Message) map[string]any {
		var out []any
		for _, m := range all {
			text, err := protojson.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, map[string]any{name: json.RawMessage(text)})
		}
		return map[string]any{"@type": "type.googleapis.com/envoy.admin.v3." + kind, list: out}
	}
	var listeners, clusters []proto.Message
	for _, l := range b.StaticResources.Listeners {
		listeners = append(listeners, l)
	}
	for _, one := range b.StaticResources.Clusters {
		clusters = append(clusters, one)
	}
	dump, err := json.Marshal(map[string]any{"configs": []any{
		listed("ListenersConfigDump", "static_listeners", "listener", listeners...), listed("ClustersConfigDump", "static_clusters", "cluster", clusters...),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return dump
}
