package authz

import (
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
)

// runtimeProvider is the shop of a file again, added at run time with another id
// and host.
func runtimeProvider(list []*provider.Provider, id, host string) *provider.Provider {
	for _, of := range list {
		if of.ID == "shop" {
			p := *of
			p.ID, p.APIBase, p.Runtime = id, &url.URL{Scheme: "https", Host: host, Path: "/v1"}, true
			return &p
		}
	}
	return nil
}

// onRuntimeRoute makes what calls the shop a call of a run-time provider, by the
// route that they have in common.
func onRuntimeRoute(s *stored, r *Request, id string) {
	r.Path = strings.Replace(r.Path, "/ath/proxy/shop/", "/ath/proxy/"+id+"/", 1)
	r.Provider, r.Mount, r.Runtime = "", "", true
	s.grant.Provider, s.connection.Provider = id, id
	s.agents[agentID].Approvals[0].Provider = id
}

// proves: P-3, P-7
func TestARunTimeProviderIsFoundByThePath(t *testing.T) {
	const agents, none = "tools", ""
	for _, c := range []struct {
		name, path string
		leadsTo    string // the decision's provider
		reason     Reason
		target     string
	}{
		{"its API", "/ath/proxy/tools/products/7?colour=red", agents, Allowed, "/v1/products/7?colour=red"},
		{"its API, percent-encoded", "/ath/proxy/tools/products/a%20b%C3%A9", agents, Allowed, "/v1/products/a%20b%C3%A9"},
		{"a query that looks like a path", "/ath/proxy/tools/products/7?/../../x", agents, Allowed, "/v1/products/7?/../../x"},
		{"its base, which no scope covers", "/ath/proxy/tools/", agents, ScopeMissing, ""},
		{"without a slash", "/ath/proxy/tools", none, ProviderUnknown, ""},
		{"without a slash, with a query", "/ath/proxy/tools?/", none, ProviderUnknown, ""},
		{"in capitals", "/ath/proxy/Tools/products/7", none, ProviderUnknown, ""},
		{"percent-encoded id", "/ath/proxy/t%6Fols/products/7", none, TargetNotCanonical, ""},
		{"an id that begins with it", "/ath/proxy/toolshed/products/7", none, ProviderUnknown, ""},
		{"no id", "/ath/proxy//products/7", none, TargetNotCanonical, ""},
		{"a provider of a file", "/ath/proxy/shop/products/7", none, ProviderUnknown, ""},
		{"another path", "/products/7", none, ProviderUnknown, ""},
		{"two slashes behind the mount", "/ath/proxy/tools//products/7", agents, TargetNotCanonical, ""},
		{"dots", "/ath/proxy/tools/../shop/products/7", agents, TargetNotCanonical, ""},
		{"dots before it", "/ath/proxy/x/../tools/products/7", none, TargetNotCanonical, ""},
		{"an encoded slash", "/ath/proxy/tools%2Fproducts/7", none, TargetNotCanonical, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, r := good()
			onRuntimeRoute(s, &r, "tools")
			s.connection.Destination = "https://auth.shop.example/token c https://api.shop.example"
			r.Path = c.path
			var logs recorder
			d := newDecider(t, s, &logs).Decide(t.Context(), r)
			if d.Reason() != c.reason || d.Provider != c.leadsTo {
				t.Errorf("%s at %q, want %s at %q", d.Reason(), d.Provider, c.reason, c.leadsTo)
			}
			want := Target{}
			if c.target != "" {
				want = Target{Path: c.target, Host: "api.shop.example"}
			}
			if d.Target() != want {
				t.Errorf("it goes to %+v, want %+v", d.Target(), want)
			}
			checkLogs(t, logs.String(), s, d.ID)
		})
	}
}

// What a file defines has a route of its own: a configuration in which that one
// says that it is of run-time providers, too, was changed by somebody.
//
// proves: P-3
func TestARouteThatSaysTwoThingsLeadsNowhere(t *testing.T) {
	for name, spoil := range map[string]func(*Request){
		"a provider of a file":        func(r *Request) { r.Provider = "shop" },
		"the run-time provider":       func(r *Request) { r.Provider = "tools" },
		"a mount":                     func(r *Request) { r.Mount = "/ath/proxy/tools/" },
		"another mount":               func(r *Request) { r.Mount = "/" },
		"the provider, and its mount": func(r *Request) { r.Provider, r.Mount = "tools", "/ath/proxy/tools/" },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := good()
			onRuntimeRoute(s, &r, "tools")
			spoil(&r)
			var logs recorder
			d := newDecider(t, s, &logs).Decide(t.Context(), r)
			if d.Allowed() || d.Reason() != InternalError || s.reads != 0 {
				t.Errorf("%s, after %d reads", d.Reason(), s.reads)
			}
			if !strings.Contains(logs.String(), "a route names a provider") {
				t.Error("the log does not say why")
			}
		})
	}
}

// A provider that a file had has a route and a cluster in Envoy until that has another
// configuration. Whoever adds one of the same name means another API, maybe.
//
// proves: P-3, O-2
func TestTheRouteOfAFileLeadsToNoRunTimeProvider(t *testing.T) {
	s, r := good()
	onRuntimeRoute(s, &r, "tools")
	s.connection.Destination = "https://auth.shop.example/token c https://api.shop.example"
	r.Runtime, r.Provider, r.Mount = false, "tools", "/ath/proxy/tools/"
	var logs recorder
	d := newDecider(t, s, &logs).Decide(t.Context(), r)
	if d.Allowed() || d.Reason() != ProviderUnknown || d.Target() != (Target{}) || d.Authorization().Reveal() != "" {
		t.Errorf("%s, to %+v", d.Reason(), d.Target())
	}
	if !strings.Contains(logs.String(), "athd bootstrap") {
		t.Error("the log does not say what to do")
	}
	checkLogs(t, logs.String(), s, d.ID)
}

// proves: P-1, P-3
func TestWhatWasNeverReadIsNotRefusedForGood(t *testing.T) {
	s, r := good()
	onRuntimeRoute(s, &r, "tools")
	d := newDecider(t, s, &recorder{})
	empty, err := provider.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	d.config.Providers.Replace(empty.Unloaded())
	if got := d.Decide(t.Context(), r); got.Reason() != StoreUnavailable || got.Refusal().Status() != 503 {
		t.Errorf("before they were read: %s", got.Reason())
	}
	r.Authorization = nil
	if got := d.Decide(t.Context(), r); got.Reason() != TokenMissing {
		t.Errorf("without a token: %s", got.Reason())
	}
	d.config.Providers.Replace(empty)
	_, r = good()
	r.Authorization[0] = "Bearer " + s.token.Secret().Reveal()
	r.Provider, r.Mount, r.Runtime = "", "", true
	if got := d.Decide(t.Context(), r); got.Reason() != ProviderUnknown {
		t.Errorf("once they were read: %s", got.Reason())
	}
}

// A mesh's routes cannot lead to them, so that none may be taken for that of one.
func TestRoutesOfAMeshLeadToNoRunTimeProvider(t *testing.T) {
	s, r := good()
	onRuntimeRoute(s, &r, "tools")
	s.connection.Destination = "https://auth.shop.example/token c https://api.shop.example"
	r.Runtime, r.Host = false, "gw.example"
	d := newDecider(t, s, &recorder{})
	d.config.ByHost = true
	if got := d.Decide(t.Context(), r); got.Reason() != ProviderUnknown || got.Target() != (Target{}) {
		t.Errorf("%s", got.Reason())
	}
}

func TestBasesOfRunTimeProviders(t *testing.T) {
	for base, want := range map[string]Target{
		"https://api.example":                {"/", "api.example", false},
		"https://api.example/":               {"/", "api.example", false},
		"https://api.example/v1/":            {"/v1/", "api.example", false},
		"https://api.example/v1//":           {"/v1/", "api.example", false},
		"https://API.Example:443/a%20b":      {"/a%20b/", "api.example", false},
		"https://api.example.:8443/v1":       {"/v1/", "api.example:8443", false},
		"https://[2001:DB8::1]:8443/v1":      {"/v1/", "[2001:db8::1]:8443", false},
		"http://api.example:80/":             {"/", "api.example:80", true},
		"http://api.example/":                {"/", "api.example:80", true},
		"http://[2001:db8::1]/":              {"/", "[2001:db8::1]:80", true},
		"http://api.example:443/":            {"/", "api.example:443", true},
		"http://10.0.0.1:8080/x":             {"/x/", "10.0.0.1:8080", true},
		"https://127.1/":                     {},
		"https://0x7f000001/":                {},
		"https://a..example/":                {},
		"https://api.example:0/":             {},
		"https://[::ffff:127.0.0.1]/":        {},
		"https://[fe80::1%25eth0]/":          {},
		"h2c://api.example/":                 {},
		"https://api.example,evil.example/":  {},
		"https://api.example:443@evil.test/": {"/", "evil.test", false}, // user information is refused where it is read
	} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseOf(&provider.Provider{ID: "x", APIBase: u, Runtime: true}); got != want {
			t.Errorf("%s: %+v, want %+v", base, got, want)
		}
		if got := baseOf(&provider.Provider{ID: "x", APIBase: u}); got != (Target{}) {
			t.Errorf("%s of a file: %+v", base, got)
		}
		if got := baseOf(&provider.Provider{ID: "x", APIBase: u, Runtime: true, App: &provider.App{}}); got != (Target{}) {
			t.Errorf("%s of an app: %+v", base, got)
		}
	}
}

func TestExplainKnowsRunTimeProviders(t *testing.T) {
	s, r := good()
	onRuntimeRoute(s, &r, "tools")
	s.connection.Destination = "https://auth.shop.example/token c https://api.shop.example"
	d := newDecider(t, s, &recorder{})
	ask := func(path string) Explanation {
		t.Helper()
		e, err := d.Explain(t.Context(), Question{Token: s.token.Secret(), Method: "GET", URL: "https://gw.example" + path})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := ask(r.Path)
	if !e.Decision.Allowed() || e.Place != "provider tools, added at run time, mounted at /ath/proxy/tools/" {
		t.Errorf("%s at %q", e.Decision.Reason(), e.Place)
	}
	for _, step := range e.Steps {
		if step.Rule == "P-3 destination" && step.Found != `the request goes to "api.shop.example", as "/v1/products/7"` {
			t.Errorf("found %q", step.Found)
		}
	}
	noToken(t, s, e)
	if e := ask("/ath/proxy/nobody/x"); e.Decision.Reason() != ProviderUnknown || e.Place != "host and path lead to no provider and no app" {
		t.Errorf("%s at %q", e.Decision.Reason(), e.Place)
	}
	d.config.ByHost = true
	if e := ask(r.Path); e.Decision.Reason() != ProviderUnknown || e.Place != "provider tools, added at run time, to which no route of a mesh leads" {
		t.Errorf("in a mesh: %s at %q", e.Decision.Reason(), e.Place)
	}
}

// A change is of one provider, and what is derived of all others stays.
func TestASnapshotKeepsWhatIsDerivedOfOthers(t *testing.T) {
	set := providers(t)
	shop, moved := set.Get("shop"), *set.Get("tools")
	before := newSnapshot(&Config{}, set, nil)
	before.of(shop).destination = "as it was"
	moved.APIBase = &url.URL{Scheme: "https", Host: "new.example"}
	next, err := provider.NewSet(shop, &moved)
	if err != nil {
		t.Fatal(err)
	}
	after := newSnapshot(&Config{}, next, before)
	if after.of(shop).destination != "as it was" {
		t.Error("what did not change is derived again")
	}
	if got := after.of(&moved); got.base.Host != "new.example" || got.destination != moved.Destination() {
		t.Errorf("of what changed: %+v", got)
	}
	if after.derived.Len() != 2 {
		t.Errorf("%d are left", after.derived.Len())
	}
}
