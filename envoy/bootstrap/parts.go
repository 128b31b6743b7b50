package bootstrap

import (
	"errors"
	"fmt"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/envoy"
)

// A Part is what of the configuration is printed: all of it, or what goes into
// an Envoy that is already there.
type Part string

// The parts.
const (
	All      Part = "all"
	Filters  Part = "filters"  // settings and filters of the HTTP connection manager
	Routes   Part = "routes"   // of each virtual host
	Clusters Part = "clusters" // athd's and the providers'
)

// Unchecked is what lets routes that have nothing to do with agents past the check
// and its guard: a member of a route, a virtual host or a route configuration.
// Never of a route to a provider.
func (c Config) Unchecked() string {
	judge, setting := envoy.CheckFilter, "ext_authz.v3.ExtAuthzPerRoute"
	if c.ByExtProc {
		judge, setting = envoy.JudgeFilter, "ext_proc.v3.ExtProcPerRoute"
	}
	return `typed_per_filter_config:
  ` + judge + `:
    '@type': type.googleapis.com/envoy.extensions.filters.http.` + setting + `
    disabled: true
  ` + envoy.GuardFilter + `:
    '@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute
`
}

// headings tell where a part goes.
var headings = map[Part][]string{
	Filters: {
		"For the HttpConnectionManager of the listener that agents reach. Settings that you have",
		"already take these values; of your own HTTP filters, those that change routes or headers go before",
		"ext_authz, and router stays the last.",
		"",
		"From here on every route of this listener is checked, and refused unless it leads to a provider. Give",
		"routes that have nothing to do with agents, or a whole virtual host of them, the typed_per_filter_config",
		"at the head of the routes.",
	},
	Routes: {
		"For the virtual hosts that agents reach. Put these routes before your own of the same host: Envoy",
		"takes the first that matches. A host that you do not have yet is a virtual host of its own.",
		"",
		"What has nothing to do with agents is let past the check and its guard by this, on a route or on a whole",
		"virtual host (the routes below have settings of their own, which win):",
		"",
	},
	Clusters: {
		"For static_resources. athd_authz is where Envoy asks, athd_companion the handshake, and provider_* the APIs.",
	},
}

// Generate returns the whole of a static configuration: see [Print].
func Generate(c Config) ([]byte, error) { return Print(c, All) }

// Print returns a part of the configuration as YAML, with what each setting is
// there for. Equal configurations give equal bytes. The error names everything
// that is wrong.
func Print(c Config, part Part) ([]byte, error) {
	m, err := c.part(part)
	if err != nil {
		return nil, err
	}
	heading := []string{
		"Envoy's configuration, written by athd bootstrap. Change athd.yaml and generate it again:",
		"what is edited here may undo what keeps agents' requests checked.",
	}
	if c.PublicURL != "" {
		heading = append(heading, fmt.Sprintf("Public URL: %q", c.PublicURL))
	}
	if more := headings[part]; len(more) > 0 {
		heading = append(heading, "")
		for _, line := range more {
			heading = append(heading, strings.Replace(line, "ext_authz", c.filterWord(), 1))
		}
	}
	if part == Clusters && (c.hears() || c.heals()) {
		heading = append(heading, "athd_streams is athd once more, for what it hears of beside its decisions.")
	}
	if part == Routes {
		for line := range strings.Lines(c.Unchecked()) {
			heading = append(heading, "  "+strings.TrimSuffix(line, "\n"))
		}
	}
	return printYAML(m, heading)
}

// filterWord is what the headings call the filter that judges.
func (c Config) filterWord() string {
	if c.ByExtProc {
		return envoy.JudgeFilter
	}
	return "ext_authz"
}

// PrintBare is [Print] without the heading.
func PrintBare(c Config, part Part) ([]byte, error) {
	m, err := c.part(part)
	if err != nil {
		return nil, err
	}
	return printYAML(m, nil)
}

func (c Config) part(part Part) (proto.Message, error) {
	b, err := c.bootstrap()
	if err != nil {
		return nil, err
	}
	switch part {
	case All:
		return b, nil
	case Clusters:
		return &bootstrapv3.Bootstrap_StaticResources{Clusters: b.StaticResources.Clusters}, nil
	case Filters, Routes:
		manager, err := managerOf(b.StaticResources.Listeners[0])
		if err != nil {
			return nil, err
		}
		routes := manager.GetRouteConfig()
		manager.RouteSpecifier, manager.StatPrefix = nil, ""
		if part == Routes {
			return pastedRoutes(routes), nil
		}
		return manager, nil
	}
	return nil, fmt.Errorf("envoy: want filters, routes, clusters or all, not %q", part)
}

func managerOf(l *listenerv3.Listener) (*hcmv3.HttpConnectionManager, error) {
	m := &hcmv3.HttpConnectionManager{}
	for _, chain := range l.FilterChains {
		for _, f := range chain.Filters {
			if err := f.GetTypedConfig().UnmarshalTo(m); err == nil {
				return m, nil
			}
		}
	}
	return nil, errors.New("envoy: the listener has no HTTP connection manager")
}

// pastedRoutes leaves out what would take the requests that the user's own
// routes are there for.
func pastedRoutes(c *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	for _, host := range c.VirtualHosts {
		last := len(host.Routes) - 1
		if host.Name == consentRoute {
			continue // its own alone: nothing of the user's belongs there
		}
		if host.Routes[last].Name == catchAll {
			host.Routes = host.Routes[:last]
		}
		if last--; last >= 0 && host.Routes[last].Name == healthRoute {
			host.Routes = host.Routes[:last]
		}
	}
	c.Name = ""
	return c
}
