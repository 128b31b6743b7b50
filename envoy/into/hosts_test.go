package into_test

import (
	"strings"
	"testing"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/into"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// hosts are the virtual hosts of an outline, each with what of athd's is there.
func hosts(outline string) string {
	var out []string
	for line := range strings.Lines(outline[strings.Index(outline, "virtual_hosts:"):strings.Index(outline, "  clusters:")]) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "- name: "); ok {
			out = append(out, name+":")
		} else if ours, ok := strings.CutPrefix(line, "# athd: "); ok {
			out = append(out, strings.NewReplacer("companion discovery ", "… ", " proxy_unknown ath_unknown", "").Replace(ours))
		}
	}
	return strings.Join(out, " ")
}

// Routes go where Envoy takes requests for their host to.
func TestRoutesGoToTheVirtualHostThatAnswers(t *testing.T) {
	app := func(id, prefix string, hosts ...string) *provider.Provider {
		return envoyconfig.AppProvider(t, id, "http://127.0.0.1:3000", prefix, hosts...)
	}
	gateway := envoyconfig.GatewayProvider(t, "files", "http://127.0.0.1:9999/")
	for _, c := range []struct {
		name      string
		public    string
		providers []*provider.Provider
		more      func(*into.Config)
		want      string
	}{
		{"any host", "http://localhost:8080", []*provider.Provider{app("shop", "/api")}, nil, "blog: main: … proxy_shop app_shop"},
		{"by name", "http://localhost:8080", []*provider.Provider{app("shop", "/api")}, func(c *into.Config) { c.VirtualHost = "blog" },
			"blog: … proxy_shop app_shop main:"},
		{"the handshake on a host of its own", "http://blog.localhost:8080", []*provider.Provider{gateway}, nil, "blog: … proxy_files main:"},
		{"an app on a host that is there", "http://localhost:8080", []*provider.Provider{app("shop", "/api", "localhost")}, nil, "blog: main: … proxy_shop app_shop"},
		{"an app on another host than the handshake's", "http://localhost:8080", []*provider.Provider{app("shop", "/api", "blog.localhost")}, nil,
			"blog: … proxy_shop app_shop main: … proxy_shop"},
		{"an app that has a host of its own", "http://localhost:8080", []*provider.Provider{app("shop", "", "shop.localhost")}, nil,
			"blog: main: … proxy_shop shop.localhost"},
		{"an app on two hosts of one virtual host", "http://localhost:8080", []*provider.Provider{app("shop", "/api", "a.example", "b.example")}, nil,
			"blog: main: … proxy_shop app_shop"},
		{"consent pages apart", "http://localhost:8080", []*provider.Provider{gateway}, func(c *into.Config) { c.Parts.ConsentURL = "http://consent.localhost:8080" },
			"blog: main: … proxy_files consent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := into.Config{Parts: bootstrap.Config{
				Listen: ":0", Authz: []string{"unix:/a"}, Companion: []string{"unix:/b"}, PublicURL: c.public, Providers: envoyconfig.Set(t, c.providers...),
			}}
			if c.more != nil {
				c.more(&config)
			}
			text := strings.Replace(before(t), "              - match: {prefix: /api/}\n                route: {cluster: shop}\n", "", 1)
			if got := hosts(outline(inserted(t, text, config).Text)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// The listener is found where one alone can be it: one that does more than
// redirect, on public_url's port, for its name.
func TestTheListenerIsFoundByPublicURL(t *testing.T) {
	text := strings.NewReplacer("&router", "", "*router", `{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}`).Replace(read(t, "testdata/team.yaml"))
	for _, c := range []struct{ public, listener, want string }{
		{"https://api.example.com", "", "edge"},
		{"https://api.example.com:8443", "", "edge"}, // behind a load balancer
		{"https://api.example.com", "https/*.example.com", "edge"},
		{"https://intranet.example.com", "", "intranet"},
		{"https://api.example.com", "https/intranet", "no certificate for it"},
		{"http://api.example.com", "redirect", "redirect"},
		{"http://api.example.com", "", "several"},
		{"https://api.example.org", "", "several"},
	} {
		parts := bootstrap.Config{
			Listen: ":0", Authz: []string{"unix:/a"}, Companion: []string{"unix:/b"}, PublicURL: c.public,
			Providers: envoyconfig.Set(t, envoyconfig.GatewayProvider(t, "files", "http://127.0.0.1:9999/")),
		}
		r, err := into.Insert([]byte(text), into.Config{Parts: parts, Listeners: strings.Fields(c.listener)})
		got := "another error"
		switch {
		case err == nil:
			_, rest, _ := strings.Cut(string(r.Text), "# athd:begin")
			above := string(r.Text)[:len(r.Text)-len(rest)]
			for _, prefix := range []string{"redirect", "intranet", "edge"} {
				if strings.Contains(above, "tat_prefix: "+prefix) || prefix == "edge" && strings.Contains(above, "statPrefix: www") {
					got = prefix
				}
			}
		case strings.Contains(err.Error(), "takes no TLS connections"):
			got = "no certificate for it"
		case strings.Contains(err.Error(), "several listeners could"):
			got = "several"
		}
		if got != c.want {
			t.Errorf("%s, %q: %s, want %s: %v", c.public, c.listener, got, c.want, err)
		}
	}
}
