package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/internal/cli"
)

func newBootstrap(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "bootstrap",
		Short:   "print Envoy's configuration, or put athd's parts into one that is there",
		GroupID: groupConfigure,
		Example: `  athd bootstrap --config athd.yaml -o envoy.yaml
  athd bootstrap --into /etc/envoy/envoy.yaml
  athd bootstrap --part filters`,
	}
	path := cli.ConfigFlag(c)
	cli.Obsolete(c, "static") // every configuration is static
	part := string(bootstrap.All)
	cli.Choice(c, &part, "part", "not all but what goes into an Envoy that is already there",
		string(bootstrap.Filters), string(bootstrap.Routes), string(bootstrap.Clusters))
	to := c.Flags().StringP("output", "o", "-", "the `file` to write; - for standard output")
	var in insertion
	f := c.Flags()
	f.StringVar(&in.path, "into", "", "the Envoy configuration `file` to put athd's parts into, between marks; all else in it stays as it is. The difference is shown first; without a terminal or --yes nothing is written. - reads standard input and writes standard output")
	f.StringArrayVar(&in.listeners, "listener", nil, "with --into: the `name` of the listener that agents reach, where several could be it; one for each, where they reach several")
	f.StringVar(&in.virtualHost, "virtual-host", "", "with --into: the `name` of the virtual host that answers public_url")
	f.BoolVar(&in.yes, "yes", false, "with --into: write without asking")
	f.BoolVar(&in.remove, "remove", false, "with --into: take athd's parts out again")
	c.RunE = func(*cobra.Command, []string) error {
		if !f.Changed("into") {
			for _, name := range []string{"listener", "virtual-host", "yes", "remove"} {
				if f.Changed(name) {
					return cli.Wrong("--%s goes with --into", name)
				}
			}
			return runBootstrap(*path, bootstrap.Part(part), *to, t)
		}
		switch {
		case in.path == "":
			return cli.Wrong("--into wants a file")
		case f.Changed("part"):
			return cli.Wrong("--into puts all parts in: leave out --part")
		case f.Changed("output"):
			return cli.Wrong("--into writes the file that it reads: leave out --output, or use --into - for standard input and output")
		}
		return runInto(*path, in, t)
	}
	return c
}

// runBootstrap prints the configuration with which Envoy asks this athd.
func runBootstrap(path string, part bootstrap.Part, to string, t terminal) error {
	s, err := t.load(path)
	if err != nil {
		return err
	}
	c, err := bootstrapConfig(s)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if strings.HasPrefix(s.PublicURL, "https:") && len(c.ListenTLS) == 0 {
		fmt.Fprintln(t.Stderr, "warning: public_url is https, but envoy.tls is not set: something in front of Envoy must do TLS")
	}
	out, err := bootstrap.Print(c, part)
	if err != nil {
		return err
	}
	return output(t, to, out, 0o644)
}

// bootstrapConfig checks what matters to Envoy only.
func bootstrapConfig(s *config.Settings) (bootstrap.Config, error) {
	e := s.Envoy
	c := bootstrap.Config{
		Listen: e.Listen, Admin: e.Admin, Authz: texts(e.GRPC), Companion: texts(e.HTTP),
		Providers: s.Providers, PublicURL: s.PublicURL, ConsentURL: s.ConsentURL, CAFile: e.CAFile, TrustedHops: e.TrustedHops,
		AllowedOrigins: e.AllowedOrigins, RuntimeProviders: e.RuntimeProviders, Egress: s.Egress,
		ByExtProc: e.ByExtProc, WatchesStreams: e.WatchesStreams, KeepsStreams: e.KeepsStreams, ChecksReplies: e.ChecksReplies, MaxStreams: s.Streams.Total,
	}
	switch {
	case slices.ContainsFunc(e.GRPC, config.Address.AnyPort):
		return c, errors.New("listen.grpc has port 0, which Envoy cannot call: name a port, or set envoy.athd_grpc")
	case slices.ContainsFunc(e.HTTP, config.Address.AnyPort):
		return c, errors.New("listen.http has port 0, which Envoy cannot call: name a port, or set envoy.athd_http")
	case s.TLS != nil && e.AthdTLS == nil:
		return c, errors.New("listen.tls wants a client certificate: set envoy.athd_tls")
	}
	for _, t := range e.TLS {
		c.ListenTLS = append(c.ListenTLS, bootstrap.TLSFiles(t))
	}
	if t := e.AthdTLS; t != nil {
		c.AthdTLS = &bootstrap.ClientTLSFiles{CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile, ServerName: t.ServerName}
	}
	return c, nil
}

func texts(all []config.Address) []string {
	out := make([]string, len(all))
	for i, a := range all {
		out[i] = a.String()
	}
	return out
}
