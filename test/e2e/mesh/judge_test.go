package mesh

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/test/harness/realenvoy"
)

// judgeFilter is what Envoy Gateway writes for the EnvoyExtensionPolicy of
// deploy/envoy-gateway/ext-proc, and judgePatch what the EnvoyPatchPolicy beside
// it adds to that.
const judgeFilter = `
- name: envoy.filters.http.ext_proc/envoyextensionpolicy/athd/agents/extproc/0
  disabled: true
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
    grpc_service: {envoy_grpc: {cluster_name: envoyextensionpolicy/athd/agents/extproc/0, authority: 'athd-grpc.athd:9001'}, timeout: 10s}
    message_timeout: 1s
    processing_mode: {request_header_mode: SEND, request_trailer_mode: SKIP, response_header_mode: SEND, response_trailer_mode: SKIP}
    request_attributes: [source.address]
    status_on_error: {code: 503}
`

const judgePatch = `
    metadata_options: {receiving_namespaces: {untyped: [envoy.filters.http.ext_authz]}}
    mutation_rules:
      disallow_all: true
      allow_expression: {regex: '^(au|c(oo|a|ontent-t|f-a)|set-c|www|ret|remo|ssl-|tails|x-([cgpv]o|[ah]t|[mw]e|[msu]s|a[mu]|cl|or|re[mw]|forwarded-([aceigu]|prefe)))[!-~]*$'}
      disallow_is_error: true
`

// guardFilters are those of guard.yaml.
const guardFilters = `
- name: athd.guard
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: ALLOW
      policies: {athd-allowed: {permissions: [{any: true}], principals: [{sourced_metadata: {metadata_matcher: {filter: envoy.filters.http.ext_authz, path: [{key: ath_allow}], value: {bool_match: true}}}}]}}
- name: athd.trailers
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations: {request_trailers_mutations: [{remove_on_match: {key_matcher: {safe_regex: {regex: ".*"}}}}]}
`

const routerFilter = `
- name: envoy.filters.http.router
  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}
`

// judgeRoute turns the filter on, as Envoy Gateway does on each route.
const judgeRoute = `{envoy.filters.http.ext_proc/envoyextensionpolicy/athd/agents/extproc/0: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}`

// A judge answers, in the place of athd, what a test has it answer: nil answers
// nothing and ends the stream.
type judge struct {
	procv3.UnimplementedExternalProcessorServer
	answer func(context.Context) (*procv3.ProcessingResponse, error)
}

func (j *judge) Process(s procv3.ExternalProcessor_ProcessServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	answer, err := j.answer(s.Context())
	if answer == nil {
		return err
	}
	if err := s.Send(answer); err != nil {
		return err
	}
	_, err = s.Recv() // Envoy ends the stream when it has what it needs
	return err
}

// allow is athd's yes.
func allow(t *testing.T) *procv3.ProcessingResponse {
	t.Helper()
	metadata, err := structpb.NewStruct(map[string]any{envoy.MetaNamespace: map[string]any{envoy.MetaAllow: true}})
	if err != nil {
		t.Fatal(err)
	}
	return &procv3.ProcessingResponse{
		DynamicMetadata: metadata,
		Response: &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{
			Response: &procv3.CommonResponse{HeaderMutation: &procv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{set("authorization", "Bearer swapped")}}},
		}},
	}
}

func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// judged is an Envoy with Envoy Gateway's blocks, which asks by ext_proc.
func judged(t *testing.T, listen string, clusters []byte) []byte {
	t.Helper()
	routes := strings.NewReplacer("GALLERY", judgeRoute, "SHOP", judgeRoute).Replace(gatewayRoutes)
	routes = regexp.MustCompile(`&gateway\n.*`).ReplaceAllString(routes, "&gateway "+judgeRoute)
	manager := managerOf(t, gatewayManager, judgeFilter+judgePatch+guardFilters+routerFilter, routes)
	return bootstrap(t, listen, manager, clusters, "envoyextensionpolicy/athd/agents/extproc/0")
}

// proves: M-1, P-1, P-2, P-3, P-4, P-5, P-7, P-9, V-1
func TestEnvoyGatewayJudge(t *testing.T) {
	mesh{name: "ext_proc", raw: true, merges: true, away: http.StatusServiceUnavailable, config: judged}.works(t)
}

// Behind the filters that Envoy Gateway writes nothing reaches an API that was
// not judged, in whichever way asking fails. Without guard.yaml and the patch of
// judge.yaml some of it does: that is why they are not for choice.
func TestEnvoyGatewayJudgeFailsClosed(t *testing.T) {
	var now atomic.Pointer[func(context.Context) (*procv3.ProcessingResponse, error)]
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	t.Cleanup(server.Stop)
	procv3.RegisterExternalProcessorServer(server, &judge{answer: func(ctx context.Context) (*procv3.ProcessingResponse, error) { return (*now.Load())(ctx) }})
	go server.Serve(listener)
	var saw atomic.Pointer[string]
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text := r.URL.Path + " " + r.Header.Get("Authorization")
		saw.Store(&text)
	}))
	t.Cleanup(api.Close)

	start := func(filters string) *realenvoy.Envoy {
		manager := managerOf(t, gatewayManager, filters+routerFilter, `
name: athd/agents/https
virtual_hosts: [{name: athd, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: provider_gallery}, typed_per_filter_config: `+judgeRoute+`}]}]`)
		cluster := func(name string, a net.Addr, more string) string {
			host, port, _ := net.SplitHostPort(a.String())
			return fmt.Sprintf("- {name: %s, type: STATIC, %sload_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}}\n", name, more, name, host, port)
		}
		const http2 = "typed_extension_protocol_options: {" + httpOptions + ": {'@type': type.googleapis.com/" + httpOptions + ", explicit_http_config: {http2_protocol_options: {}}}}, "
		clusters := "clusters:\n" + cluster("athd_authz", listener.Addr(), http2) + cluster("provider_gallery", api.Listener.Addr(), "")
		return realenvoy.Start(t, bootstrap(t, "127.0.0.1:0", manager, []byte(clusters), "envoyextensionpolicy/athd/agents/extproc/0"))
	}
	guarded, bare := start(judgeFilter+judgePatch+guardFilters), start(judgeFilter)

	const passes, unjudged = "/pictures/1 Bearer swapped", "/pictures/1 Bearer ath_secret"
	for _, tt := range []struct {
		name   string
		answer func(context.Context) (*procv3.ProcessingResponse, error)
		status int    // with the guard
		up     string // what the API sees with the guard, and
		bare   string // without guard and patch
	}{
		{"athd's yes", func(context.Context) (*procv3.ProcessingResponse, error) { return allow(t), nil }, 200, passes, passes},
		{"a clean end", func(context.Context) (*procv3.ProcessingResponse, error) { return nil, nil }, 403, "", unjudged},
		{"an error", func(context.Context) (*procv3.ProcessingResponse, error) {
			return nil, status.Error(codes.Internal, "no")
		}, 503, "", ""},
		{"no answer", func(ctx context.Context) (*procv3.ProcessingResponse, error) { <-ctx.Done(); return nil, ctx.Err() }, 504, "", ""},
		{"an answer to heads that says nothing", func(context.Context) (*procv3.ProcessingResponse, error) {
			return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestHeaders{}}, nil
		}, 403, "", unjudged},
		{"an empty answer", func(context.Context) (*procv3.ProcessingResponse, error) { return &procv3.ProcessingResponse{}, nil }, 503, "", ""},
		{"an answer to another question", func(context.Context) (*procv3.ProcessingResponse, error) {
			a := allow(t)
			a.Response = &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{}}
			return a, nil
		}, 503, "", ""},
		{"a yes without metadata", func(context.Context) (*procv3.ProcessingResponse, error) {
			a := allow(t)
			a.DynamicMetadata = nil
			return a, nil
		}, 403, "", passes},
		{"another path", func(context.Context) (*procv3.ProcessingResponse, error) {
			a := allow(t)
			m := a.GetRequestHeaders().GetResponse().GetHeaderMutation()
			m.SetHeaders = append(m.SetHeaders, set(":path", "/admin"))
			return a, nil
		}, 503, "", "/admin Bearer swapped"},
		{"a change of the mode, which is not obeyed", func(context.Context) (*procv3.ProcessingResponse, error) {
			return &procv3.ProcessingResponse{
				Response:     &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{}},
				ModeOverride: &modev3.ProcessingMode{RequestHeaderMode: modev3.ProcessingMode_SKIP},
			}, nil
		}, 403, "", unjudged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now.Store(&tt.answer)
			for e, want := range map[*realenvoy.Envoy]string{guarded: tt.up, bare: tt.bare} {
				saw.Store(new(string))
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.Addr("public")+"/pictures/1", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer ath_secret")
				began := time.Now()
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if up := *saw.Load(); up != want || e == guarded && resp.StatusCode != tt.status {
					t.Errorf("guarded %t: %d, the API saw %q, want %d and %q", e == guarded, resp.StatusCode, up, tt.status, want)
				}
				if took := time.Since(began); took > patience {
					t.Errorf("guarded %t: it took %v", e == guarded, took)
				}
			}
		})
	}
	t.Run("nobody is there", func(t *testing.T) {
		server.Stop()
		saw.Store(new(string))
		for _, e := range []*realenvoy.Envoy{guarded, bare} {
			resp, err := http.Get("http://" + e.Addr("public") + "/pictures/1")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if up := *saw.Load(); resp.StatusCode != http.StatusServiceUnavailable || up != "" {
				t.Errorf("guarded %t: %d, the API saw %q", e == guarded, resp.StatusCode, up)
			}
		}
	})
	if strings.Contains(guarded.Log()+bare.Log(), "ath_secret") {
		t.Error("an ATH token is in Envoy's log")
	}
}
