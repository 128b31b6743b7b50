package extauthz

import (
	"context"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

// leads are what a reply says of where the request goes: nothing, on all routes but
// one.
func leads(r *authv3.CheckResponse) (out []string) {
	for _, h := range slices.Concat(r.GetOkResponse().GetHeaders(), r.GetDeniedResponse().GetHeaders(), r.GetOkResponse().GetResponseHeadersToAdd()) {
		if name := strings.ToLower(h.Header.Key); strings.HasPrefix(name, ":") || name == "host" {
			out = append(out, name+" "+h.Header.Value)
		}
	}
	for _, key := range []string{envoy.MetaHost, envoy.MetaUpstream} {
		if value := r.GetDynamicMetadata().GetFields()[key]; value != nil {
			out = append(out, key+" "+value.GetStringValue())
		}
	}
	return out
}

// A reply may set :path and :authority on every route, as far as Envoy is concerned:
// whatever is decided, on whatever route, it does so for an agent who may call a
// run-time provider, on the route of those.
//
// proves: P-3, P-4
func TestWhereARequestGoesIsSaidOnTheRuntimeRouteAlone(t *testing.T) {
	type edit = func(*authv3.AttributeContext)
	extensions := func(pairs ...string) edit {
		return func(a *authv3.AttributeContext) {
			for i := 0; i < len(pairs); i += 2 {
				a.ContextExtensions[pairs[i]] = pairs[i+1]
			}
		}
	}
	clean := func(a *authv3.AttributeContext) { a.ContextExtensions = map[string]string{} }
	routes := map[string][]edit{
		"as it was":                         {},
		"static":                            {clean, extensions(envoy.ExtProvider, apiProvider, envoy.ExtMount, apiMount)},
		"of an app":                         {clean, extensions(envoy.ExtProvider, "site")},
		"of no provider":                    {clean},
		"of a run-time provider, by name":   {clean, extensions(envoy.ExtProvider, "tools", envoy.ExtMount, "/ath/proxy/tools/")},
		"run time, said in another way":     {clean, extensions(envoy.ExtRuntime, "1")},
		"run time":                          {onRuntimeRoute("tools")},
		"run time, to a provider of a file": {onRuntimeRoute(apiProvider)},
		"run time, to no provider":          {onRuntimeRoute("nobody")},
		"run time, to an app":               {onRuntimeRoute("site")},
		"run time, without a host":          {onRuntimeRoute("nowhere")},
		"run time, and a provider":          {onRuntimeRoute("tools"), extensions(envoy.ExtProvider, "tools")},
		"run time, and the file's":          {onRuntimeRoute("tools"), extensions(envoy.ExtProvider, apiProvider)},
		"run time, and a mount":             {onRuntimeRoute("tools"), extensions(envoy.ExtMount, "/ath/proxy/tools/")},
		"run time, and an app":              {onRuntimeRoute("tools"), extensions(envoy.ExtProvider, "site")},
	}
	said := 0
	for _, way := range ways {
		for name, route := range routes {
			for _, provider := range []string{apiProvider, "tools"} {
				t.Run(way.name+"/"+name+"/"+provider, func(t *testing.T) {
					w := newWorld(t)
					if provider != apiProvider {
						w.withRuntime(provider)
					}
					if way.world != nil {
						way.world(w)
					}
					request := w.ask()
					if way.edit != nil {
						way.edit(request.Attributes)
					}
					usual := request.Attributes.ContextExtensions[envoy.ExtProvider] == apiProvider
					for _, edit := range route {
						edit(request.Attributes)
					}
					r := w.check(w.checks(), request)
					reason := authz.Reason(r.DynamicMetadata.Fields[envoy.MetaReason].GetStringValue())
					if name == "run time" && provider == "tools" && usual && reason != way.reason {
						t.Errorf("%s, and on a static route %s", reason, way.reason)
					}
					if got := leads(r); len(got) > 0 {
						said++
						if name != "run time" || provider != "tools" || reason != authz.Allowed {
							t.Errorf("%s: the reply says %q", reason, got)
						}
						return
					}
					if reason == authz.Allowed && strings.HasPrefix(name, "run time") && name != "run time, said in another way" {
						t.Error("allowed, and the request goes nowhere")
					}
				})
			}
		}
	}
	if said == 0 {
		t.Error("no reply said where the request goes")
	}
}

// What one route's question is decided, another's never answers, whatever is wrong
// with the code between.
//
// proves: P-3
func TestATargetIsTheRuntimeRoutesOwn(t *testing.T) {
	w := newWorld(t).withRuntime("tools")
	decide := w.decider().Decide
	var held authz.Decision
	allowed := checksOf(t, func(ctx context.Context, r authz.Request) authz.Decision {
		held = decide(ctx, r)
		return held
	})
	if got := leads(w.check(allowed, w.ask(onRuntimeRoute("tools")))); len(got) == 0 {
		t.Fatal("nothing is said where it should be")
	}
	static := newWorld(t)
	byFile := static.decider().Decide
	open := newWorld(t)
	mesh := newWorld(t)
	mesh.byHost = true
	athd := mesh.decider().Decide
	decisions := map[string]func(context.Context, authz.Request) authz.Decision{
		"allowed on the run-time route": func(context.Context, authz.Request) authz.Decision { return held },
		"allowed on a static route": func(ctx context.Context, _ authz.Request) authz.Decision {
			q, _ := scanned(t, static.ask()).question(0)
			return byFile(ctx, q.Request)
		},
		"passed through": func(ctx context.Context, _ authz.Request) authz.Decision {
			q, _ := scanned(t, open.ask(byPerson())).question(0)
			return byFile(ctx, q.Request)
		},
		"companion": func(ctx context.Context, _ authz.Request) authz.Decision {
			q, _ := scanned(t, mesh.ask(toAthd())).question(0)
			return athd(ctx, q.Request)
		},
		"refused": func(_ context.Context, r authz.Request) authz.Decision {
			return authz.Decision{ID: r.ID, Provider: "tools"}
		},
		"zero":  func(context.Context, authz.Request) authz.Decision { return authz.Decision{} },
		"panic": func(context.Context, authz.Request) authz.Decision { panic("secret in a panic") },
	}
	routes := map[string]func(*authv3.AttributeContext){
		"static": func(*authv3.AttributeContext) {}, "of an app": byPerson(), "of athd": toAthd(),
		"by name": func(a *authv3.AttributeContext) {
			onRuntimeRoute("tools")(a)
			a.ContextExtensions = map[string]string{envoy.ExtProvider: "tools", envoy.ExtMount: "/ath/proxy/tools/"}
		},
		"run time": onRuntimeRoute("tools"),
		"run time, and a provider": func(a *authv3.AttributeContext) {
			onRuntimeRoute("tools")(a)
			a.ContextExtensions[envoy.ExtProvider] = "tools"
		},
		"run time, and a mount": func(a *authv3.AttributeContext) {
			onRuntimeRoute("tools")(a)
			a.ContextExtensions[envoy.ExtMount] = "/ath/proxy/tools/"
		},
	}
	for decision, decide := range decisions {
		for route, edit := range routes {
			t.Run(decision+"/"+route, func(t *testing.T) {
				r := w.check(checksOf(t, decide), w.ask(edit))
				own := route == "run time"
				if want := own && decision == "allowed on the run-time route"; (len(leads(r)) > 0) != want {
					t.Errorf("the reply says %q", leads(r))
				}
				if allows := codes.Code(r.GetStatus().GetCode()) == codes.OK; allows && own != (decision == "allowed on the run-time route") {
					t.Errorf("allowed: %v", r)
				}
			})
		}
	}
}

// proves: P-3, P-5, P-7
func TestAnAllowOnTheRuntimeRouteSaysWhereTheRequestGoes(t *testing.T) {
	for _, c := range []struct{ name, id, rest, path, host, upstream string }{
		{"with a base path, and the scheme's own port", "tools", "products/7", "/v2/products/7", "api.tools.example", ""},
		{"the base alone", "tools", "products/", "/v2/products/", "api.tools.example", ""},
		{"with a query", "tools", "products/7?a=%2F&b=/..//x", "/v2/products/7?a=%2F&b=/..//x", "api.tools.example", ""},
		{"with an empty query", "tools", "products/7?", "/v2/products/7?", "api.tools.example", ""},
		{"percent-encoded", "tools", "products/a%20b%C3%A9", "/v2/products/a%20b%C3%A9", "api.tools.example", ""},
		{"without a base path, by http on a port", "plain", "products/7", "/products/7", "api.plain.example:8080", "http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t).withRuntime(c.id)
			r := w.check(w.checks(), w.ask(also("x-ath-other", "1"), with(":path", apiMount+c.rest), onRuntimeRoute(c.id)))
			want := map[string]string{
				envoy.HeaderAuthorization: "Bearer " + userToken, ":path": c.path, ":authority": c.host, envoy.HeaderStream: "3600000",
			}
			got := map[string]string{}
			for _, h := range r.GetOkResponse().GetHeaders() {
				if h.Append == nil || h.Append.Value || len(h.Header.RawValue) > 0 {
					t.Errorf("header %v", h)
				}
				got[h.Header.Key] = h.Header.Value
			}
			for name, value := range want {
				if got[name] != value {
					t.Errorf("%s is %q, want %q", name, got[name], value)
				}
			}
			if len(got) != len(want) || len(r.GetOkResponse().GetHeaders()) != len(want) {
				t.Errorf("headers %v", got)
			}
			meta := r.DynamicMetadata.AsMap()
			upstream, said := meta[envoy.MetaUpstream]
			if said != (c.upstream != "") || said && upstream != c.upstream || meta[envoy.MetaHost] != c.host || meta[envoy.MetaProvider] != c.id || meta[envoy.MetaAllow] != true {
				t.Errorf("metadata %v", meta)
			}
			removes := r.GetOkResponse().GetHeadersToRemove()
			if !slices.Contains(removes, "x-ath-other") || !slices.Contains(removes, envoy.HeaderAgentID) {
				t.Errorf("removes %q", removes)
			}
		})
	}
}
