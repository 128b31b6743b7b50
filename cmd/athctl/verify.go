package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/doctor"
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
	expect, err := doctor.Expectation(all, asked)
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
