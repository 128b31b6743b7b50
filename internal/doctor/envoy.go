package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/config"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/probe"
	"github.com/athd/athd/provider"
)

// envoy holds the configuration of the Envoy that runs against what athd needs,
// as athctl verify-envoy does.
func (d *doctor) envoy(ctx context.Context, f *findings) {
	const asked = "what Envoy runs with (its /config_dump), against what athd needs"
	if d.Envoy == "" {
		f.notAsked("config", asked, "the address of Envoy's admin pages is not known", "athctl doctor --envoy http://127.0.0.1:9901; or in athd.yaml, envoy: {admin: 127.0.0.1:9901}")
		return
	}
	expect, why, cure := d.expectation(ctx)
	if why != "" {
		f.notAsked("config", asked, why, cure)
		return
	}
	dump, err := probe.Dump(ctx, d.Envoy)
	if e, ok := errors.AsType[*probe.DumpError](err); ok && d.elsewhere {
		f.notAsked("config", asked, e.Cause+"; with envoy.destination: host_and_path it may run elsewhere", "kubectl port-forward to the gateway's Envoy, then athctl doctor --envoy http://127.0.0.1:15000 (Istio) or :19000 (Envoy Gateway)")
		return
	} else if ok {
		f.fault("reach", asked, e.Cause, "start Envoy (envoy -c envoy.yaml), or name its admin address: athctl doctor --envoy http://127.0.0.1:9901")
		return
	} else if err != nil {
		f.notAsked("config", asked, "--envoy: "+err.Error(), "athctl doctor --envoy http://127.0.0.1:9901")
		return
	}
	d.envoyReaches(ctx, f)
	v, err := verify.Verify(dump, *expect)
	if err != nil {
		f.fault("config", asked, err.Error(), "check that "+d.Envoy+" is Envoy's admin address")
		return
	}
	for _, one := range v.Findings {
		report := f.warn
		if one.Severity == verify.Fault {
			report = f.fault
		}
		report("config", asked, one.Where+": "+one.What, one.Remedy+"; athd bootstrap --config "+d.file()+" prints it all")
	}
	if len(v.Findings) == 0 {
		f.ok("config", asked, fmt.Sprintf("%s, %s and %s read; nothing differs", counted(v.Listeners, "listener"), counted(v.Routes, "route"), counted(v.Clusters, "cluster")))
	}
}

// authzCluster is that of decisions.
const authzCluster = "athd_authz"

// envoyReaches asks whether Envoy finds athd healthy: at the cluster of decisions, and
// at that of streams and replies, where athd answers by ext_proc. Only those of athd
// bootstrap's names are known.
func (d *doctor) envoyReaches(ctx context.Context, f *findings) {
	const asked = "whether Envoy finds athd healthy (its /clusters)"
	all, err := probe.Clusters(ctx, d.Envoy)
	if err != nil {
		f.notAsked("athd", asked, err.Error(), "athctl doctor --envoy http://127.0.0.1:9901")
		return
	}
	healthy := 0
	for _, c := range all {
		if c.Name != authzCluster && c.Name != envoy.StreamsCluster {
			continue
		}
		var out []string
		for _, h := range c.Hosts {
			if h.Why != "" {
				out = append(out, h.String())
			} else {
				healthy++
			}
		}
		switch {
		case len(out) == 0 && len(c.Hosts) > 0:
		case len(out) < len(c.Hosts):
			f.warn("athd", asked, "cluster "+c.Name+": Envoy leaves out "+strings.Join(out, ", "), "see the log of that athd, and that it is of the release whose athd bootstrap wrote Envoy's configuration")
			return
		default:
			what := "decisions are"
			if c.Name == envoy.StreamsCluster {
				what = "streams under watch, and replies that are checked, are"
			}
			f.fault("athd", asked, "cluster "+c.Name+": Envoy finds no athd that is healthy ("+strings.Join(out, ", ")+"): "+what+" refused",
				"start athd, or compare listen.grpc with envoy.athd_grpc; an athd that does not know ext_proc is not healthy for "+envoy.StreamsCluster+": start the new one first")
			return
		}
	}
	if healthy > 0 {
		f.ok("athd", asked, counted(healthy, "way")+" to athd, healthy")
	}
}

// expectation is what Envoy is held against, or why it is not known.
func (d *doctor) expectation(ctx context.Context) (e *verify.Expectation, why, cure string) {
	if s := d.Settings; s != nil {
		return &verify.Expectation{
			Providers: s.Providers, Authz: d.Authz, ByHost: s.Envoy.Destination == config.DestinationByHostAndPath,
			ConsentHost: s.ConsentHost(), CallbackPerProvider: s.CallbackPerProvider,
			Runtime: s.Envoy.RuntimeProviders, Egress: s.Egress,
			ByExtProc: s.Envoy.ByExtProc, WatchesStreams: s.Envoy.WatchesStreams, KeepsStreams: s.Envoy.KeepsStreams, ChecksReplies: s.Envoy.ChecksReplies,
		}, "", ""
	}
	list, why, cure := d.providerList(ctx)
	if why != "" {
		return nil, why, cure
	}
	out, err := Expectation(*list, d.Authz)
	if err != nil {
		return nil, "athd " + err.Error(), "use the athctl of the release that runs"
	}
	return &out, "", ""
}

// providerList asks athd for its providers.
func (d *doctor) providerList(ctx context.Context) (list *api.ProviderList, why, cure string) {
	list = &api.ProviderList{}
	if why, cure = d.askAthd(ctx, ath.AdminProvidersPath, list); why != "" {
		return nil, why, cure
	}
	return list, "", ""
}

// askAthd asks athd's API of operators; why is "" if it answered.
func (d *doctor) askAthd(ctx context.Context, path string, into any) (why, cure string) {
	if d.Ask == nil {
		return d.NoAsk, "athctl doctor --server URL --token-file FILE, an admin token of athd's admin.tokens"
	}
	err := d.Ask(ctx, path, into)
	if e, ok := errors.AsType[*AskError](err); ok {
		return e.Cause, e.Cure
	}
	if err != nil {
		return err.Error(), "check --server and --token-file, and that athd runs"
	}
	return "", ""
}

// Expectation is what athd says of its providers, as verification wants it.
func Expectation(p api.ProviderList, authz []string) (verify.Expectation, error) {
	e := verify.Expectation{Authz: authz, ByHost: p.Destination == config.DestinationByHostAndPath, CallbackPerProvider: p.Callback == api.CallbackPerProvider}
	if !e.ByHost && p.Destination != config.DestinationByRoute {
		return e, fmt.Errorf("finds providers by %q, which this athctl does not know", cli.Printable(p.Destination, 40))
	}
	if p.ConsentHost != "" {
		if e.ConsentHost = ath.RequestedHost(p.ConsentHost); e.ConsentHost.IsZero() {
			return e, fmt.Errorf("the consent pages' host %q is none", cli.Printable(p.ConsentHost, 64))
		}
	}
	err := asks(&e, p.Envoy)
	if err != nil {
		return e, err
	}
	if e.Runtime = p.Runtime != nil; e.Runtime {
		if e.Egress, err = policyOf(p.Runtime); err != nil {
			return e, err
		}
	}
	var list []*provider.Provider
	for _, f := range p.Providers {
		if f.Origin == api.ProviderOfRuntime {
			continue // Envoy knows none of them by name
		}
		one := &provider.Provider{ID: f.ID, Aliases: f.Aliases, EncodedSlash: f.EncodedSlash}
		if one.APIBase, err = absolute(f.APIBase); err != nil {
			return e, fmt.Errorf("provider %q: %w", cli.Printable(f.ID, 64), err)
		}
		if a := f.App; a != nil {
			one.App = &provider.App{Hosts: a.Hosts, PathPrefix: a.PathPrefix, Passthrough: a.Unauthenticated == "passthrough"}
			if one.App.Upstream, err = absolute(a.Upstream); err != nil {
				return e, fmt.Errorf("app %q: %w", cli.Printable(f.ID, 64), err)
			}
		}
		list = append(list, one)
	}
	set, err := provider.NewSet(list...)
	e.Providers = set
	return e, err
}

// asks reads by what Envoy is to ask. An athd that does not say it knows ext_authz
// only.
func asks(e *verify.Expectation, a *api.EnvoyAsks) error {
	if a == nil {
		return nil
	}
	for _, key := range []struct {
		to                         *bool
		name, is, first, otherwise string
	}{
		{&e.ByExtProc, "filter", a.Filter, config.FilterExtAuthz, config.FilterExtProc},
		{&e.WatchesStreams, "streams", a.Streams, config.StreamsBounded, config.StreamsWatched},
		{&e.KeepsStreams, "streams_on_loss", a.StreamsOnLoss, config.OnLossEnd, config.OnLossKeep},
		{&e.ChecksReplies, "replies", a.Replies, config.RepliesCleared, config.RepliesChecked},
	} {
		if *key.to = key.is == key.otherwise; !*key.to && key.is != key.first {
			return fmt.Errorf("has envoy.%s: %q, which this athctl does not know", key.name, cli.Printable(key.is, 40))
		}
	}
	return nil
}

// policyOf is where athd lets the APIs of run-time providers be.
func policyOf(r *api.RuntimeRoute) (egress.Policy, error) {
	p := egress.Policy{AllowPrivate: r.AllowPrivate, AllowHTTP: r.AllowHTTP}
	for _, a := range r.Allow {
		network, err := netip.ParsePrefix(a.Addresses)
		if err != nil {
			return p, fmt.Errorf("allows %q, which are no addresses", cli.Printable(a.Addresses, 64))
		}
		p.Allow = append(p.Allow, egress.Exception{Addresses: network.Masked(), Port: a.Port, HTTP: a.HTTP})
	}
	for _, l := range r.Own {
		own := egress.Listener{Port: l.Port, Public: l.Public}
		if l.Address != "" {
			var err error
			if own.Addr, err = netip.ParseAddr(l.Address); err != nil {
				return p, fmt.Errorf("listens at %q, which is no address", cli.Printable(l.Address, 64))
			}
		}
		p.Own = append(p.Own, own)
	}
	return p, nil
}

func absolute(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL of an API", cli.Printable(s, 300))
	}
	return u, nil
}
