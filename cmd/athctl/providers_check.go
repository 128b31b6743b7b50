package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/config"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
)

// checked is what was found out about one provider.
type checked struct {
	Provider string             `json:"provider_id"`
	Findings []provider.Finding `json:"findings"`
	Warnings []string           `json:"warnings,omitempty"`
}

func newProvidersCheck(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "check [PROVIDER]...",
		Short: "prove client, secret, redirect URI and scopes before a user consents",
		Long: `check reads athd.yaml and asks the OAuth server of each provider, as athd will:
its metadata, where endpoints are not written; the token endpoint, with a code
and a refresh token that nobody gave out; the authorization endpoint, of which no
redirect is followed. Beside each it sends one that is wrong on purpose.

It says of each part: right, and by what that is known; wrong, and the cure; or
not told, where the server answers right and wrong alike. Nothing changes at the
server, but its log and what counts failed attempts. It exits with 1 where
something is wrong.

With --from it asks so for a provider that is not there yet, before it is added while
athd runs; what that athd says of it, athctl providers add --dry-run tells.`,
		Example: "  athctl providers check --config athd.yaml\n  athctl providers check shop -o json\n" +
			"  athctl providers check github --from github.json --secret-file github.secret --redirect-uri https://gateway.example.com/ath/callback",
	}
	file, format, document := cli.ConfigFlag(c), cli.FormatFlag(c), addDocumentFlags(c)
	redirectURI := c.Flags().String("redirect-uri", "", "with --from, the redirect `URI` that the OAuth server knows (default: /ath/callback of ATHCTL_SERVER)")
	c.RunE = func(c *cobra.Command, plain []string) error {
		if *document.from != "" {
			found, err := checkDocument(c.Context(), t, document, plain, *redirectURI)
			if err != nil {
				return err
			}
			return tellChecked(t, *format, []checked{found})
		}
		s, faults := config.Load(*file, config.Sources{Env: t.LookupEnv, ReadFile: config.ReadFile})
		if s == nil {
			return cli.Lines(faults.Err())
		}
		chosen, err := choose(s.Providers, plain)
		if err != nil {
			return err
		}
		client := provider.NewClient(provider.ClientConfig{AllowHTTP: s.Development.AllowHTTP, AllowPrivate: s.Development.AllowPrivateHosts})
		var all []checked
		for _, p := range chosen {
			fmt.Fprintf(t.Stderr, "asking the OAuth server of %s\n", p.ID)
			all = append(all, checkOne(c.Context(), client, p, p.RedirectURI(s.PublicURL, s.CallbackPerProvider)))
		}
		return tellChecked(t, *format, all)
	}
	return c
}

func choose(set *provider.Set, ids []string) ([]*provider.Provider, error) {
	if len(ids) == 0 {
		return set.All(), nil
	}
	var chosen []*provider.Provider
	for _, id := range ids {
		p := set.Get(id)
		if p == nil {
			return nil, fmt.Errorf("there is no provider %s in the configuration", cli.Printable(id, 130))
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

func checkOne(ctx context.Context, client *provider.Client, p *provider.Provider, redirectURI string) checked {
	c := checked{Provider: p.ID}
	if p.Discovered {
		d, err := client.Metadata(ctx, p)
		if err == nil {
			p, err = p.With(d, "")
		}
		if err != nil {
			c.Findings = []provider.Finding{{Part: "issuer", Verdict: provider.Wrong, Because: err.Error(), Cure: cureIssuer(err)}}
			return c
		}
		c.Findings = append(c.Findings, provider.Finding{Part: "issuer", Verdict: provider.Right, Because: "it names itself, and its endpoints"})
		if p.CouldName(d) {
			c.Warnings = append(c.Warnings, "each consent counts as a user of its own: the server would say who the user is, for the scope openid (extra_scopes: [openid], if this client may ask for it)")
		}
		for _, scope := range p.Unlisted(d) {
			c.Warnings = append(c.Warnings, "the metadata does not list the scope "+scope+"; many servers list only some of theirs")
		}
	}
	if known, ok := p.Unnamed(); ok {
		c.Warnings = append(c.Warnings, "the OAuth server is at a host of "+known.Title+", whose habits preset: "+known.Name+" knows (or preset: none); athctl scopes "+known.Name+" shows the pages that they are from")
	}
	c.Findings = append(c.Findings, client.Preflight(ctx, p, redirectURI)...)
	return c
}

// cureIssuer says what to do where there is no metadata.
func cureIssuer(err error) string {
	e, ok := errors.AsType[*metadata.Error](err)
	switch {
	case !ok:
	case e.Reason == metadata.OtherIssuer:
		return "if that is your server: issuer: " + strconv.Quote(e.Got)
	case e.Reason == metadata.Refused:
		return "if it is a server of your own network: allow_private_issuer: true"
	case e.Reason == metadata.Untrusted:
		return "athd trusts the system's CAs: install the server's CA there, or start athd with SSL_CERT_FILE=/path/to/ca.pem"
	case e.Reason == metadata.NotFound, e.Reason == metadata.Malformed:
		return "correct issuer; for a server without metadata write authorize_endpoint and token_endpoint"
	}
	return "correct issuer, or have the server answer"
}

func tellChecked(t cli.Terminal, format cli.Format, all []checked) error {
	wrong := 0
	w := tabwriter.NewWriter(t.Stdout, 0, 0, 2, ' ', 0)
	for _, c := range all {
		for _, f := range c.Findings {
			verdict := string(f.Verdict)
			switch f.Verdict {
			case provider.Wrong:
				wrong++
			case provider.NotTold:
				verdict = "this server does not tell"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Provider, f.Part, verdict, cli.Printable(f.Because, 1000))
			if f.Cure != "" {
				fmt.Fprintf(w, "\t\t\tnext: %s\n", cli.Printable(f.Cure, 1000))
			}
		}
		for _, text := range c.Warnings {
			fmt.Fprintf(w, "%s\twarning\t\t%s\n", c.Provider, cli.Printable(text, 1000))
		}
	}
	if format == cli.JSON {
		if err := t.JSON(all); err != nil {
			return err
		}
	} else if err := w.Flush(); err != nil {
		return err
	}
	if wrong > 0 {
		return cli.ErrFound
	}
	return nil
}

// checkDocument asks the OAuth server of a provider that is in a document alone. The
// operator's own machine asks: it may reach what athd may not.
func checkDocument(ctx context.Context, t cli.Terminal, document documentFlags, plain []string, redirectURI string) (checked, error) {
	if len(plain) != 1 {
		return checked{}, cli.Wrong("want the one provider that --from describes")
	}
	if redirectURI == "" {
		if redirectURI = t.Env("ATHCTL_SERVER"); redirectURI == "" {
			return checked{}, cli.Wrong("which redirect URI does the OAuth server know? Use --redirect-uri")
		}
		redirectURI += ath.CallbackPath
	}
	doc, err := document.read(t, nil)
	if err != nil {
		return checked{}, err
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return checked{}, err
	}
	reach := egress.Policy{AllowPrivate: true, AllowHTTP: true}
	p, faults := provider.ParseOne(plain[0], data, provider.Options{Egress: reach, ChecksReplies: true})
	if len(faults) > 0 {
		c := checked{Provider: plain[0]}
		for _, f := range faults {
			c.Findings = append(c.Findings, provider.Finding{Part: cmp.Or(f.Pointer, "document"), Verdict: provider.Wrong, Because: f.Message})
		}
		return c, nil
	}
	fmt.Fprintf(t.Stderr, "asking the OAuth server of %s\n", p.ID)
	return checkOne(ctx, provider.NewClient(provider.ClientConfig{Egress: reach}), p, redirectURI), nil
}
