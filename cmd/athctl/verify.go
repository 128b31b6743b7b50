package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/provider"
)

func newVerify(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "verify-envoy",
		Short:   "compare a running Envoy's configuration with what athd needs",
		GroupID: groupChecks,
		Example: `  athctl verify-envoy --envoy http://127.0.0.1:9901
  athctl verify-envoy --dump dump.json --authz 127.0.0.1:9001 --strict`,
	})
	admin := c.Flags().String("envoy", "", "the `URL` of Envoy's admin pages, such as http://127.0.0.1:9901")
	file := c.Flags().String("dump", "", "a `file` that holds what Envoy's /config_dump says; - for standard input")
	authz := c.Flags().String("authz", "", "the `address` at which Envoy must ask athd: unix:/path or host:port; several replicas' with commas")
	strict := c.Flags().Bool("strict", false, "exit with 1 for warnings too")
	return c.runs(func(ctx context.Context, _ []string) error {
		if (*admin == "") == (*file == "") {
			return cli.Wrong("want either --envoy URL or --dump FILE")
		}
		var asked []string
		for one := range strings.SplitSeq(*authz, ",") {
			if one == "" && *authz == "" {
				break
			}
			if !isAddress(one) {
				return cli.Wrong("--authz wants unix:/path or host:port, or several with commas")
			}
			asked = append(asked, one)
		}
		return c.runVerify(ctx, *admin, *file, asked, *strict)
	})
}

// runVerify holds a running Envoy against what athd needs of it. Faults are a
// no; warnings are one with --strict.
func (c *command) runVerify(ctx context.Context, admin, file string, asked []string, strict bool) error {
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
	dump, err := c.dump(ctx, admin, file)
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
	if faults > 0 || strict && warnings > 0 {
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
