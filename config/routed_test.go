package config

import (
	"bytes"
	"net/url"
	"reflect"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/provider"
)

// athdsAlone are the fields of a provider of which Envoy's configuration says nothing.
var athdsAlone = []string{
	"ListedAs", "DisplayName", "Categories", "Scopes", "AuthorizeURL", "TokenURL", "ClientID", "ClientSecret", "AuthMethod", "Issuer",
	"UserinfoURL", "UserIDField", "Separator", "ExtraAuthz", "ExtraToken", "TokenTypes", "DeniedErrors", "ScopeAliases", "EmptyScope",
	"Refresh", "Grants", "Renewal", "Preset", "Rules", "Derived", "Encoded", "ExtraScopes", "Resource", "Discovered", "PrivateIssuer",
	"Revocation", "RevocationURL", "Runtime", "RewriteLinks", "App.Name", "App.APIBase", "App.CallbackURL",
}

// routeFields are the others, each with another value.
var routeFields = map[string]func(*provider.Provider){
	"Aliases": func(p *provider.Provider) { p.Aliases = append(p.Aliases, "again") },
	"APIBase": func(p *provider.Provider) {
		p.APIBase = &url.URL{Scheme: "https", Host: "other.example.com", Path: "/v2"}
	},
	"EncodedSlash": func(p *provider.Provider) { p.EncodedSlash = !p.EncodedSlash },
	"RetryOn401":   func(p *provider.Provider) { p.RetryOn401 = !p.RetryOn401 },
	"App.Upstream": func(p *provider.Provider) {
		p.App.Upstream = &url.URL{Scheme: "http", Host: "10.9.9.9:80"}
		p.APIBase = p.App.Upstream
	},
	"App.Hosts":       func(p *provider.Provider) { p.App.Hosts = p.App.Hosts[:1] },
	"App.PathPrefix":  func(p *provider.Provider) { p.App.PathPrefix = "/other" },
	"App.Audience":    func(p *provider.Provider) { p.App.Audience = "http://shop.example.com" },
	"App.Passthrough": func(p *provider.Provider) { p.App.Passthrough = !p.App.Passthrough },
}

// A part of Envoy's configuration that changes while Envoy keeps the old one would
// send users' tokens where they do not belong any more.
// proves: O-2
func TestWhatEnvoyIsToldOfAProviderIsNotTakenLive(t *testing.T) {
	hosts := func() []ath.Host {
		var all []ath.Host
		for _, text := range []string{"shop.example.com", "b.example.com"} {
			h, err := ath.ParseHost(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, h)
		}
		return all
	}
	fresh := func() *provider.Provider {
		api := &url.URL{Scheme: "http", Host: "10.0.0.1:3000", Path: "/v1"}
		return &provider.Provider{ID: "shop", APIBase: api, App: &provider.App{
			Upstream: api, Hosts: hosts(), PathPrefix: "/api", Audience: "https://gateway.example.com",
		}}
	}
	printed := func(p *provider.Provider) []byte {
		set, err := provider.NewSet(p)
		if err != nil {
			t.Fatal(err)
		}
		out, err := bootstrap.Print(bootstrap.Config{
			Listen: "127.0.0.1:80", Authz: []string{"127.0.0.1:1"}, Companion: []string{"127.0.0.1:2"}, Providers: set,
			PublicURL: "https://gateway.example.com", CAFile: "/ca.pem",
		}, bootstrap.All)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := printed(fresh())
	var fields func(of reflect.Type, prefix string)
	fields = func(of reflect.Type, prefix string) {
		for f := range of.Fields() {
			name := prefix + f.Name
			if !f.IsExported() || name == "ID" {
				continue
			}
			if name == "App" {
				fields(f.Type.Elem(), "App.")
				continue
			}
			p := fresh()
			change, envoys := routeFields[name]
			alone := false
			for _, a := range athdsAlone {
				alone = alone || a == name
			}
			switch {
			case envoys == alone:
				t.Errorf("%s: say whether Envoy's configuration holds it (routedParts)", name)
				continue
			case envoys:
				change(p)
			default:
				v := reflect.ValueOf(p).Elem()
				if prefix != "" {
					v = reflect.ValueOf(p.App).Elem()
				}
				anotherValue(v.FieldByName(f.Name))
			}
			differs := !bytes.Equal(same, printed(p))
			if told := len(routed(fresh(), p)) > 0; envoys != told || differs && !told {
				t.Errorf("%s: Envoy's configuration differs: %v, and it waits: %v", name, differs, told)
			}
		}
	}
	fields(reflect.TypeFor[provider.Provider](), "")

	api := func(host string) *provider.Provider {
		return &provider.Provider{ID: "files", APIBase: &url.URL{Scheme: "https", Host: host}}
	}
	if len(routed(api("a.example"), api("b.example"))) == 0 || len(routed(api("a.example"), api("a.example"))) != 0 {
		t.Error("the API of a provider that is no app changes at once")
	}
}

// anotherValue puts something that is not zero into a field.
func anotherValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("another")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		anotherValue(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("a").Convert(v.Type().Key()), reflect.ValueOf("b").Convert(v.Type().Elem()))
	case reflect.Uint8, reflect.Uint:
		v.SetUint(1)
	case reflect.Int64, reflect.Int:
		v.SetInt(1)
	case reflect.Pointer:
		v.Set(reflect.ValueOf(&url.URL{Scheme: "https", Host: "another.example.com"}))
	case reflect.Struct:
		for _, f := range v.Fields() {
			if f.CanSet() {
				anotherValue(f)
			}
		}
	}
}
