package extauthz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

func TestReadCheck(t *testing.T) {
	w := newWorld(t)
	token := "Bearer " + w.token.Secret().Reveal()
	path := apiMount + "products/7"
	edit := func(f func(*authv3.AttributeContext_HttpRequest)) func(*authv3.AttributeContext) {
		return func(a *authv3.AttributeContext) { f(a.Request.Http) }
	}
	type edits = []func(*authv3.AttributeContext)
	tests := []struct {
		name    string
		edits   edits
		path    string
		auth    []string
		agent   []string
		removes []string // beside x-ath-agent-id
	}{
		{"raw", nil, path, []string{token}, []string{agentID}, nil},
		{"raw, as value", edits{asValues}, path, []string{token}, []string{agentID}, nil},
		{"joined", edits{joined(true)}, path, []string{token}, []string{agentID}, nil},
		{"joined without pseudo headers, as Envoy Gateway sends", edits{joined(false)}, path, []string{token}, []string{agentID}, nil},
		{"raw without pseudo headers", edits{with(":path", ""), with(":method", "")}, path, []string{token}, []string{agentID}, nil},
		{"names in upper case", edits{edit(func(h *authv3.AttributeContext_HttpRequest) {
			for _, v := range h.HeaderMap.Headers[2:] {
				v.Key = map[string]string{"authorization": "Authorization", "x-ath-agent-id": "X-ATH-Agent-ID"}[v.Key]
			}
		})}, path, []string{token}, []string{agentID}, nil},
		{"P-1: two tokens, raw", edits{also("authorization", "Bearer b")}, path, []string{token, "Bearer b"}, []string{agentID}, nil},
		{"P-1: two tokens, joined", edits{also("authorization", "b"), joined(true)}, path, []string{token + ",b"}, []string{agentID}, nil},
		{"P-1: an empty token beside one counts", edits{also("authorization", "")}, path, []string{token, ""}, []string{agentID}, nil},
		{"P-2: two agents, raw", edits{also("x-ath-agent-id", "b")}, path, []string{token}, []string{agentID, "b"}, nil},
		{"P-2: two agents, joined", edits{also("x-ath-agent-id", "b"), joined(true)}, path, []string{token}, []string{agentID + ",b"}, nil},
		{"P-5: x-ath headers are removed by name", edits{also("x-ath-zeta", "1"), also("X-ATH-Alpha", "1"), also("x-ath-zeta", "2"), also("x-athlete", "1")},
			path, []string{token}, []string{agentID}, []string{"x-ath-alpha", "x-ath-zeta"}},
		{"raw wins over the sanitized path", edits{with(":path", apiMount+"products/\xff"), edit(func(h *authv3.AttributeContext_HttpRequest) { h.Path = apiMount + "products/!" })},
			apiMount + "products/\xff", []string{token}, []string{agentID}, nil},
		{"raw: '!' is itself", edits{with(":path", apiMount+"products/!")}, apiMount + "products/!", []string{token}, []string{agentID}, nil},
		{"joined: '!' may be anything", edits{with(":path", apiMount+"products/!"), joined(true)}, apiMount + "products/!", []string{token}, []string{agentID}, nil},
		{"without :path: '!' may be anything", edits{with(":path", ""), edit(func(h *authv3.AttributeContext_HttpRequest) { h.Path = path + "!" })}, path + "!", []string{token}, []string{agentID}, nil},
		{"joined: '!' in the query may be anything", edits{with(":path", path+"?a=!"), joined(true)}, path + "?a=!", []string{token}, []string{agentID}, nil},
		{"two paths", edits{also(":path", path)}, "", []string{token}, []string{agentID}, nil},
		{"two methods", edits{also(":method", "GET")}, "", []string{token}, []string{agentID}, nil},
		{"an x-ath name that no reply can remove", edits{also("x-ath-\u00e9", "1")}, "", []string{token}, []string{agentID}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, ok := scanned(t, w.ask(tt.edits...)).question(0)
			if !ok {
				t.Fatal("not read")
			}
			if q.Blurred != strings.Contains(tt.name, "may be anything") {
				t.Errorf("blurred: %v", q.Blurred)
			}
			if q.Method != "GET" || q.Path != tt.path || q.Provider != apiProvider || q.Mount != apiMount {
				t.Errorf("method %q path %q provider %q mount %q", q.Method, q.Path, q.Provider, q.Mount)
			}
			if !slices.Equal(q.Authorization, tt.auth) || !slices.Equal(q.AgentID, tt.agent) {
				t.Errorf("authorization %q agent %q", q.Authorization, q.AgentID)
			}
			want := slices.Sorted(slices.Values(append(slices.Clone(tt.removes), "x-ath-agent-id")))
			if !slices.Equal(q.Removes, want) {
				t.Errorf("removes %q, want %q", q.Removes, want)
			}
		})
	}
}

func TestMoreHeadersThanCanBeRemovedAreRefused(t *testing.T) {
	w := newWorld(t)
	many := func(n int) *authv3.CheckRequest {
		return w.ask(func(a *authv3.AttributeContext) {
			for i := range n {
				also(fmt.Sprintf("x-ath-%d", i), "1")(a)
			}
		})
	}
	if q, _ := scanned(t, many(exchange.MaxHeaderNames-1)).question(0); q.Path == "" || len(q.Removes) != exchange.MaxHeaderNames {
		t.Errorf("%d names: path %q, %d to remove", exchange.MaxHeaderNames, q.Path, len(q.Removes))
	}
	if q, _ := scanned(t, many(exchange.MaxHeaderNames)).question(0); q.Path != "" {
		t.Error("a header that is not removed would reach the API")
	}
}

// No header says where a route leads or what was decided.
func TestExtensionsNeverComeFromHeaders(t *testing.T) {
	w := newWorld(t)
	q, _ := scanned(t, w.ask(also("ath_provider", "evil"), also("x-ath-provider", "evil"), also("ath_mount", "/"),
		func(a *authv3.AttributeContext) {
			a.ContextExtensions = map[string]string{envoy.ExtProvider: apiProvider}
		})).question(0)
	if q.Provider != apiProvider || q.Mount != "" {
		t.Errorf("provider %q, mount %q", q.Provider, q.Mount)
	}
}

// FuzzCheck: whatever bytes arrive, a check is answered, and a decider that
// refuses is never overruled.
func FuzzCheck(f *testing.F) {
	w := newWorld(f)
	for _, edit := range []func(*authv3.AttributeContext){with(":path", ""), joined(true), joined(false), also("x-ath-x", "\xff"), onRuntimeRoute("tools")} {
		seed, err := proto.Marshal(w.ask(edit))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add([]byte{})
	refusing := checksOf(f, func(_ context.Context, r authz.Request) authz.Decision {
		return authz.Decision{ID: r.ID, Provider: r.Provider}
	})
	// Of the world only the token is missing: what a fuzzer cannot guess.
	deciding := newWorld(f).checks()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range []*Checks{refusing, deciding} {
			var request attributes
			if request.scan(data) != nil {
				return
			}
			response := decoded(t, c.check(t.Context(), &request))
			if response.GetDeniedResponse() == nil || response.GetStatus().GetCode() == 0 ||
				response.GetDynamicMetadata().GetFields()[envoy.MetaAllow] != nil {
				t.Fatalf("not refused: %v", response)
			}
		}
	})
}
