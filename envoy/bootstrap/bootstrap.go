// Package bootstrap writes the configuration of the Envoy that asks athd. It puts a
// second lock behind ext_authz: a role-based access filter that admits only
// requests which carry the metadata of athd's allow reply for the provider that
// the route leads to. A check that was skipped, failed or said nothing opens
// nothing.
package bootstrap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// Config says what Envoy's configuration must lead to.
type Config struct {
	Listen    string     // host:port of the public listener; port 0 lets the system choose
	Admin     string     // host:port of Envoy's own admin pages; "": none
	ListenTLS []TLSFiles // the client's SNI chooses, the first where none fits; none: plaintext

	// Authz and Companion are athd's gRPC and HTTP listeners as Envoy dials
	// them, one of each replica: "unix:/path" or host:port. A host that means
	// every interface is dialled on loopback, and a name that stands for
	// several addresses leads to each of them.
	Authz, Companion []string
	AthdTLS          *ClientTLSFiles // for both of athd's listeners; nil: plaintext

	// Providers are reached under /ath/proxy/{id}/; apps also natively, by
	// their hosts and path prefixes.
	Providers *provider.Set
	PublicURL string // for the heading, and the scheme that apps are told; an http one refuses ListenTLS
	// TrustedHops is how many proxies in front of Envoy append the address of
	// whom they serve to X-Forwarded-For.
	TrustedHops int
	// ConsentURL is the origin of the consent pages: where its host is another
	// than PublicURL's, they get a virtual host of their own, and no other has
	// them. "": they are on every host.
	ConsentURL string
	// AllowedOrigins are those whose scripts may call from browsers (CORS), exact:
	// what agents ask of the companion, and providers' APIs. None: no script may.
	AllowedOrigins []string
	CAFile         string // the roots that sign APIs' certificates; required for https APIs, and for those of run-time providers

	// RuntimeProviders adds the route to providers that come while athd runs, which
	// athd's replies lead to their APIs. Egress says at which addresses those may be.
	RuntimeProviders bool
	Egress           egress.Policy

	// ByExtProc has athd judge requests by ext_proc, in the place of ext_authz.
	ByExtProc bool
	// WatchesStreams has athd hear of long exchanges of agents until they are over.
	// KeepsStreams: those of which it does not hear any more go on.
	WatchesStreams, KeepsStreams bool
	// MaxStreams is how many of them an athd watches at once, for which Envoy needs
	// memory.
	MaxStreams int
	// ChecksReplies has athd hear of the heads of what APIs reply to agents.
	ChecksReplies bool
}

// TLSFiles are files as Envoy's host sees them, in PEM.
type TLSFiles struct{ CertFile, KeyFile string }

// ClientTLSFiles are the files by which Envoy authenticates to athd, and the
// name that athd's certificate must carry as a DNS name or IP address.
type ClientTLSFiles struct{ CertFile, KeyFile, CAFile, ServerName string }

func (c Config) bootstrap() (*bootstrapv3.Bootstrap, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	g := &generator{config: c}
	listener := g.listener()
	clusters := g.clusters()
	admin := g.admin()
	overload := g.overloadManager()
	if len(g.errs) > 0 {
		return nil, errors.Join(g.errs...)
	}
	b := &bootstrapv3.Bootstrap{
		Admin:           admin,
		OverloadManager: overload,
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{listener},
			Clusters:  clusters,
		},
	}
	if err := b.ValidateAll(); err != nil {
		return nil, fmt.Errorf("envoy: generated configuration is invalid: %w", err)
	}
	return b, nil
}

// check says what the builders rely on.
func (c Config) check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("envoy: "+format, args...)) }
	if c.Providers == nil {
		return errors.New("envoy: providers are required")
	}
	if len(c.Authz) == 0 || len(c.Companion) == 0 {
		return errors.New("envoy: the addresses of athd's listeners are required")
	}
	for _, t := range c.ListenTLS {
		if t.CertFile == "" || t.KeyFile == "" {
			fault("TLS needs a certificate file and a key file")
		}
	}
	if len(c.ListenTLS) > 0 && strings.HasPrefix(c.PublicURL, "http://") {
		fault("the public URL is http, but the listener has TLS")
	}
	if t := c.AthdTLS; t != nil && (t.CertFile == "" || t.KeyFile == "" || t.CAFile == "" || t.ServerName == "") {
		fault("TLS to athd needs a certificate, a key and a CA file and athd's name")
	}
	for _, origin := range c.AllowedOrigins {
		if !isOrigin(origin) {
			fault("%q is not an origin: want scheme://host or scheme://host:port", origin)
		}
	}
	if c.RuntimeProviders && c.CAFile == "" {
		fault("run-time providers: the file with the CA certificates to trust is missing")
	}
	consent := c.consentHost()
	type place struct{ host, prefix string }
	owners := map[place]string{}
	for _, p := range c.Providers.All() {
		target := envoy.Upstream(p)
		if target == nil || !slices.Contains([]string{"http", "https", provider.HTTP2}, target.Scheme) || target.Scheme == provider.HTTP2 && p.App == nil || target.Hostname() == "" ||
			target.User != nil || target.RawQuery != "" || target.Fragment != "" {
			fault("provider %q: its API's URL is not an absolute http or https URL (of an app, h2c too) without user, query and fragment", p.ID)
			continue
		}
		if target.Scheme == "https" && c.CAFile == "" {
			fault("provider %q: its API is https: the file with the CA certificates to trust is missing", p.ID)
		}
		if p.App == nil {
			continue
		}
		if prefix := p.App.PathPrefix; prefix != "" && (prefix[0] != '/' || strings.HasSuffix(prefix, "/") || strings.ContainsAny(prefix, "?#")) {
			fault("app %q: its path prefix must start with a slash and not end with one", p.ID)
		} else if prefix == ath.PathRoot || strings.HasPrefix(prefix, ath.PathRoot+"/") {
			fault("app %q: paths under %s are the handshake's own", p.ID, ath.PathRoot)
		}
		for _, host := range envoy.Domains(p.App) {
			if consent != "" && host == consent {
				fault("app %q: the host %q is that of the consent pages, which share it with nothing", p.ID, host)
			}
			at := place{host, p.App.PathPrefix}
			if owner, taken := owners[at]; taken {
				fault("app %q: app %q has the same host and path prefix", p.ID, owner)
			}
			owners[at] = p.ID
		}
	}
	return errors.Join(errs...)
}

// A generator builds Envoy's resources. What goes wrong is collected.
type generator struct {
	config Config
	errs   []error
}

// validated is what the generated messages can say of themselves.
type validated interface {
	proto.Message
	ValidateAll() error
}

// pack wraps a message into an Any, after it has passed the constraints that
// Envoy's own definitions put on it.
func (g *generator) pack(m validated) *anypb.Any {
	if err := m.ValidateAll(); err != nil {
		g.errs = append(g.errs, fmt.Errorf("envoy: %w", err))
	}
	out, err := anypb.New(m)
	if err != nil {
		g.errs = append(g.errs, fmt.Errorf("envoy: %w", err))
	}
	return out
}

func seconds(n float64) *durationpb.Duration {
	return durationpb.New(time.Duration(n * float64(time.Second)))
}

// clusters returns athd's own two, one per provider, and that of the run-time
// providers, in a fixed order.
func (g *generator) clusters() []*clusterv3.Cluster {
	out := []*clusterv3.Cluster{g.authzCluster(), g.companionCluster()}
	if g.config.hears() || g.config.heals() {
		out = append(out, g.streamsCluster())
	}
	for _, p := range g.config.Providers.All() {
		out = append(out, g.providerCluster(p))
	}
	if g.config.RuntimeProviders {
		out = append(out, g.runtimeCluster())
	}
	return out
}
