package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/provider"
)

// runVerify holds a running Envoy against what athd needs of it. Faults are a
// no; warnings are one with -strict.
func runVerify(ctx context.Context, args []string, t cli.Terminal) error {
	c := newCommand("verify-envoy", t)
	admin := c.String("envoy", "", "the `URL` of Envoy's admin pages, such as http://127.0.0.1:9901")
	file := c.String("dump", "", "a `file` that holds what Envoy's /config_dump says; - for standard input")
	authz := c.String("authz", "", "the `address` at which Envoy must ask athd: unix:/path or host:port; several replicas' with commas")
	strict := c.Bool("strict", false, "exit with 1 for warnings too")
	plain, err := c.ParseArgs(args)
	switch {
	case err != nil:
		return err
	case len(plain) > 0:
		return c.Wrong("unexpected argument %q", plain[0])
	case (*admin == "") == (*file == ""):
		return c.Wrong("want either -envoy URL or -dump FILE")
	}
	var asked []string
	for one := range strings.SplitSeq(*authz, ",") {
		if one == "" && *authz == "" {
			break
		}
		if !isAddress(one) {
			return c.Wrong("-authz wants unix:/path or host:port, or several with commas")
		}
		asked = append(asked, one)
	}
	server, err := c.connect()
	if err != nil {
		return err
	}
	all, err := server.providers(ctx)
	if err != nil {
		return err
	}
	expect, err := expectationOf(all, asked)
	if err != nil {
		return fmt.Errorf("%s: %w", server.base, err)
	}
	dump, err := c.dump(ctx, *admin, *file)
	if err != nil {
		return err
	}
	found, err := verify.Verify(dump, expect)
	if err != nil {
		return fmt.Errorf("%w\nnext: give all that Envoy's admin page /config_dump says", err)
	}
	if err := c.verified(found); err != nil {
		return err
	}
	faults, warnings := count(found)
	if faults > 0 || *strict && warnings > 0 {
		return cli.ErrFound
	}
	return nil
}

func isAddress(s string) bool {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return strings.HasPrefix(path, "/")
	}
	_, port, err := net.SplitHostPort(s)
	return err == nil && port != ""
}

// expectationOf is what athd says of its providers, as verification wants it.
func expectationOf(p api.ProviderList, authz []string) (verify.Expectation, error) {
	e := verify.Expectation{Authz: authz, ByHost: p.Destination == "host_and_path", CallbackPerProvider: p.Callback == api.CallbackPerProvider}
	if !e.ByHost && p.Destination != "route" {
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
