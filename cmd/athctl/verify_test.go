package main

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/doctor"
)

// TestVerifyUsage: wrong usage is reported before anybody is asked.
func TestVerifyUsage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/token", adminToken)
	at := []string{"verify-envoy", "--server", "http://127.0.0.1:1", "--token-file", dir + "/token"}
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"help is no fault", []string{"-h"}, cli.ExitOK},
		{"neither Envoy nor dump", nil, cli.ExitUsage},
		{"Envoy and dump", []string{"--envoy", "http://127.0.0.1:1", "--dump", "x"}, cli.ExitUsage},
		{"an argument too many", []string{"--dump", "x", "y"}, cli.ExitUsage},
		{"an address that is none", []string{"--dump", "x", "--authz", "athd"}, cli.ExitUsage},
		{"a socket without its whole path", []string{"--dump", "x", "--authz", "unix:athd.sock"}, cli.ExitUsage},
		{"an output that is none", []string{"--dump", "x", "-o", "yaml"}, cli.ExitUsage},
		{"a server that is away", []string{"--dump", "x", "--authz", "unix:/run/athd.sock"}, cli.ExitFault},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if got := run(t.Context(), append(at, c.args...), quiet(&out, &out)); got != c.want || out.Len() == 0 {
				t.Errorf("exit code %d, want %d\n%s", got, c.want, &out)
			}
		})
	}
}

// The admin pages make no redirect: whoever makes one is not Envoy.
func TestVerifyFollowsNoRedirect(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	envoy := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer envoy.Close()
	if _, err := askDump(t.Context(), envoy.URL); err == nil || !strings.Contains(err.Error(), "answered 302") || asked {
		t.Errorf("%v, asked: %v", err, asked)
	}
}

func TestVerifyReadsNoEndlessDump(t *testing.T) {
	if _, err := readDump(endless{}, "here"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// What athd says of its providers must be whole.
func TestVerifyWantsProvidersAsAthdTellsThem(t *testing.T) {
	one := api.Provider{ID: "github", APIBase: "https://api.github.com"}
	app := api.Provider{ID: "shop", APIBase: "http://shop", App: &api.ProviderApp{Upstream: "http://shop", Hosts: ath.MustParseHosts("s.example"), Unauthenticated: "passthrough"}}
	e, err := doctor.Expectation(api.ProviderList{Providers: []api.Provider{app, one}, Destination: "host_and_path", Callback: "per_provider"}, []string{"unix:/a"})
	if err != nil || !e.ByHost || !slices.Equal(e.Authz, []string{"unix:/a"}) || len(e.Providers.All()) != 2 || !e.Providers.Get("shop").App.Passthrough {
		t.Errorf("%+v, %v", e, err)
	}
	added := api.Provider{ID: "tools", Origin: api.ProviderOfRuntime, State: api.ProviderDraining}
	route := &api.RuntimeRoute{
		Allow: []api.EgressException{{Addresses: "10.20.0.0/16", Port: 8443, HTTP: true}}, Own: []api.EgressListener{{Address: "127.0.0.1", Port: 9000}, {Port: 9001}, {Address: "10.20.0.1", Port: 8443, Public: true}},
	}
	e, err = doctor.Expectation(api.ProviderList{Providers: []api.Provider{one, added}, Destination: "route", Callback: "shared", Runtime: route}, nil)
	if err != nil || !e.Runtime || len(e.Providers.All()) != 1 || !e.Egress.AllowsHTTP() {
		t.Errorf("with run-time providers: %+v, %v", e, err)
	}
	for at, open := range map[string]bool{"10.20.0.9:8443": true, "10.20.0.1:8443": false, "10.20.0.9:9001": false, "10.20.0.9:443": false, "127.0.0.1:9000": false} {
		if got := e.Egress.Judge(netip.MustParseAddrPort(at)) == nil; got != open {
			t.Errorf("%s is open: %v", at, got)
		}
		if got := e.Egress.JudgeHTTP(netip.MustParseAddrPort(at)) == nil; got != open {
			t.Errorf("%s is open without TLS: %v", at, got)
		}
	}
	for _, bad := range []api.ProviderList{
		{Providers: []api.Provider{one}, Destination: "route", Callback: "shared", Runtime: &api.RuntimeRoute{Allow: []api.EgressException{{Addresses: "10.20.0.0"}}}},
		{Providers: []api.Provider{one}, Destination: "route", Callback: "shared", Runtime: &api.RuntimeRoute{Own: []api.EgressListener{{Address: "athd", Port: 1}}}},
		{Providers: []api.Provider{one}, Destination: "", ConsentHost: "", Callback: "shared"}, {Providers: []api.Provider{one}, Destination: "by_magic", ConsentHost: "", Callback: "shared"}, {Providers: []api.Provider{one}, Destination: "route", ConsentHost: "a b", Callback: "shared"}, {Providers: []api.Provider{one, one}, Destination: "route", ConsentHost: "", Callback: "shared"},
		{Providers: []api.Provider{{ID: "github"}}, Destination: "route", ConsentHost: "", Callback: "shared"}, {Providers: []api.Provider{{ID: "../x", APIBase: "https://x"}}, Destination: "route", ConsentHost: "", Callback: "shared"},
		{Providers: []api.Provider{{ID: "shop", APIBase: "http://shop", App: &api.ProviderApp{}}}, Destination: "route", ConsentHost: "", Callback: "shared"},
	} {
		if _, err := doctor.Expectation(bad, nil); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
