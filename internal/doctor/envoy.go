package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/config"
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

// expectation is what Envoy is held against, or why it is not known.
func (d *doctor) expectation(ctx context.Context) (e *verify.Expectation, why, cure string) {
	if s := d.Settings; s != nil {
		return &verify.Expectation{
			Providers: s.Providers, Authz: d.Authz, ByHost: s.Envoy.Destination == config.DestinationByHostAndPath,
			ConsentHost: s.ConsentHost(), CallbackPerProvider: s.CallbackPerProvider,
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
	var list []*provider.Provider
	for _, f := range p.Providers {
		one := &provider.Provider{ID: f.ID, Aliases: f.Aliases, EncodedSlash: f.EncodedSlash}
		var err error
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

func absolute(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL of an API", cli.Printable(s, 300))
	}
	return u, nil
}
