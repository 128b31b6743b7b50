package traps

import (
	"context"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
)

// changed is athd's own answer, with a change of it on its way to Envoy.
func changed(change func(*authv3.CheckResponse)) script {
	return func(ctx context.Context, r *authv3.CheckRequest, real authv3.AuthorizationClient) (*authv3.CheckResponse, error) {
		answer, err := real.Check(ctx, r)
		if err == nil {
			change(answer)
		}
		return answer, err
	}
}

// The destination of the run-time route is what a reply says, so that a reply that is
// not whole opens nothing: least of all one whose host is another one than is about
// to be called.
//
// proves: P-3, P-5
func TestTheRuntimeGuardDeniesWithoutAWholeDecision(t *testing.T) {
	r := newRig(t, func(r *rig, c *bootstrap.Config) { r.becomeRuntime(c, runtimeProviders["http"], true) })
	meta := func(key string, value *structpb.Value) func(*authv3.CheckResponse) {
		return func(a *authv3.CheckResponse) {
			if value == nil {
				delete(a.DynamicMetadata.Fields, key)
				return
			}
			a.DynamicMetadata.Fields[key] = value
		}
	}
	header := func(name, value string) func(*authv3.CheckResponse) {
		return func(a *authv3.CheckResponse) {
			ok := a.GetOkResponse()
			var left []*corev3.HeaderValueOption
			for _, h := range ok.Headers {
				if h.Header.Key != name {
					left = append(left, h)
				} else if value != "" {
					h.Header.Value = value
					left = append(left, h)
				}
			}
			ok.Headers = left
		}
	}
	text := structpb.NewStringValue
	for name, change := range map[string]func(*authv3.CheckResponse){
		"without ath_allow":              meta(envoy.MetaAllow, nil),
		"ath_allow as text":              meta(envoy.MetaAllow, text("true")),
		"ath_allow: false":               meta(envoy.MetaAllow, structpb.NewBoolValue(false)),
		"without a provider":             meta(envoy.MetaProvider, nil),
		"an empty provider":              meta(envoy.MetaProvider, text("")),
		"without a host":                 meta(envoy.MetaHost, nil),
		"an empty host":                  meta(envoy.MetaHost, text("")),
		"another host":                   meta(envoy.MetaHost, text("evil.example")),
		"the host without its port":      meta(envoy.MetaHost, text("127.0.0.1")),
		"the host as a list":             meta(envoy.MetaHost, structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{text(r.plain.addr)}})),
		"another authority":              header(envoy.HeaderAuthority, r.companion.addr),
		"without an authority":           header(envoy.HeaderAuthority, ""),
		"authority of this Envoy itself": header(envoy.HeaderAuthority, r.addr()),
		"no metadata":                    func(a *authv3.CheckResponse) { a.DynamicMetadata = nil },
	} {
		t.Run(name, func(t *testing.T) {
			r.play(changed(change))
			response, body := r.do(r.request("plain", "GET", "/ath/proxy/plain/x", nil))
			unanswered(t, response, body)
			if up, athd := r.plain.take(), r.companion.take(); len(up)+len(athd) > 0 {
				t.Fatalf("an API saw %+v, athd %+v", up, athd)
			}
		})
	}
	t.Run("host and authority that are both another's", func(t *testing.T) {
		// The guard cannot know; that address is one that nothing lets Envoy call.
		r.play(changed(func(a *authv3.CheckResponse) {
			meta(envoy.MetaHost, text(r.companion.addr))(a)
			header(envoy.HeaderAuthority, r.companion.addr)(a)
		}))
		response, _ := r.do(r.request("plain", "GET", "/ath/proxy/plain/x", nil))
		if athd := r.companion.take(); response.StatusCode < 400 || len(athd) > 0 {
			t.Fatalf("%s, and athd saw %+v", response.Status, athd)
		}
	})
	t.Run("a whole one passes", func(t *testing.T) {
		r.play(changed(func(*authv3.CheckResponse) {}))
		response, body := r.do(r.request("plain", "GET", "/ath/proxy/plain/x?y", nil))
		up := r.plain.take()
		if response.StatusCode != 200 || len(up) != 1 || up[0].target != "/base/x?y" {
			t.Fatalf("%s: %s, and the API saw %+v", response.Status, body, up)
		}
	})
	t.Run("a static route takes no destination from a reply", func(t *testing.T) {
		// The names of headers that a reply may set are Envoy's, for all routes.
		r.play(changed(func(a *authv3.CheckResponse) {
			ok := a.GetOkResponse()
			ok.Headers = append(ok.Headers, value(envoy.HeaderAuthority, r.companion.addr))
			meta(envoy.MetaHost, text(r.companion.addr))(a)
		}))
		response, _ := r.do(r.request("app", "GET", "/ath/proxy/app/x", nil))
		up := r.plain.take()
		if athd := r.companion.take(); response.StatusCode != 200 || len(up) != 1 || len(athd) > 0 || strings.Contains(up[0].header.Get("Host"), r.companion.addr) {
			t.Fatalf("%s, the API saw %+v, athd %+v", response.Status, up, athd)
		}
	})
}
