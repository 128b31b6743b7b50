package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newProvidersAdd(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "add PROVIDER [KEY=VALUE]...",
		Short: "add a provider while athd runs",
		Long: `add adds a provider to an athd that runs: agents find it in the next discovery,
and no file changes. Its fields are those of providers.json, from a file (--from)
or one by one: KEY=VALUE, of a list separated by commas, or KEY:=JSON. The client
secret is read from a file or from standard input (--secret-file), never from the
command line. With --dry-run athd checks everything and changes nothing.`,
		Example: "  athctl providers add github --from github.json --secret-file github.secret\n" +
			"  athctl providers add shop --issuer https://login.shop.example --secret-file - display_name=Shop client_id=athd available_scopes=orders:read api_base_url=https://api.shop.example",
	})
	document := addDocumentFlags(c.Command)
	dry := c.Flags().Bool("dry-run", false, "check it, and change nothing")
	return c.runs(func(ctx context.Context, plain []string) error {
		if len(plain) == 0 || strings.Contains(plain[0], "=") {
			return cli.Wrong("want the provider's id, and perhaps KEY=VALUE")
		}
		doc, err := document.read(c.Terminal, plain[1:])
		if err != nil {
			return err
		}
		if id, said := doc["provider_id"]; said && id != plain[0] {
			return cli.Wrong("the document is of another provider than %s", cli.Printable(plain[0], 130))
		}
		doc["provider_id"] = plain[0]
		return c.sendProvider(ctx, http.MethodPost, ath.AdminProvidersPath, doc, *dry)
	})
}

func newProvidersSet(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "set PROVIDER [KEY=VALUE]...",
		Short: "change a provider that was added while athd ran",
		Long: `set replaces the fields that it is given and keeps the others; KEY:=null takes one
away. The client secret is kept, but for one case: where a URL, the issuer or the
client id changes, athd wants it again (--secret-file), so that a secret never goes
to a place that its owner did not name. Connections that were made for another
endpoint, client or API host end. --generation is that of show: then nothing is
changed where somebody else was faster.`,
		Example: "  athctl providers set github display_name=\"GitHub (work)\"\n  athctl providers set shop token_endpoint=https://login.shop.example/v2/token --secret-file shop.secret",
	})
	document := addDocumentFlags(c.Command)
	dry := c.Flags().Bool("dry-run", false, "check it, and change nothing")
	generation := c.Flags().Uint64("generation", 0, "the `number` of the generation that the change is for")
	return c.runs(func(ctx context.Context, plain []string) error {
		if len(plain) == 0 || strings.Contains(plain[0], "=") {
			return cli.Wrong("want the provider's id, and KEY=VALUE")
		}
		doc, err := document.read(c.Terminal, plain[1:])
		if err != nil {
			return err
		}
		if len(doc) == 0 {
			return cli.Wrong("want something to change: KEY=VALUE, --from, --secret-file, --preset or --issuer")
		}
		if *generation != 0 {
			doc["generation"] = *generation
		}
		return c.sendProvider(ctx, http.MethodPut, ath.AdminProvidersPath+"/"+url.PathEscape(plain[0]), doc, *dry)
	})
}

// sendProvider sends a document, and tells what became of it.
func (c *command) sendProvider(ctx context.Context, method, path string, doc map[string]any, dry bool) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	if dry {
		path += "?dry_run=true"
	}
	var reply api.ProviderReply
	if err := server.ask(ctx, method, path, doc, &reply); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(reply)
	}
	fmt.Fprintln(c.Stdout, cli.Printable(reply.Message, 1000))
	for _, w := range reply.Warnings {
		fmt.Fprintf(c.Stdout, "warning: %s\n", cli.Printable(strings.TrimSpace(w.Pointer+" "+w.Message), 2000))
	}
	return nil
}

func newProvidersRemove(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "remove PROVIDER",
		Short: "remove a provider that was added while athd ran, and end its connections",
		Long: `remove ends a provider: no request reaches it from then on, on every athd, and what
users allowed agents there is ended and revoked at its OAuth server, which goes on
in the background (athctl providers show). It also ends what is left of a provider
that has vanished from providers.json. It asks first, unless --yes is given.`,
		Example: "  athctl providers remove shop\n  athctl providers remove shop --yes",
	})
	yes := c.Flags().Bool("yes", false, "do not ask")
	return c.runs(func(ctx context.Context, plain []string) error {
		if len(plain) != 1 {
			return cli.Wrong("want one provider")
		}
		server, err := c.connect()
		if err != nil {
			return err
		}
		if !*yes {
			fmt.Fprintf(c.Stderr, "Remove provider %s and end every connection of its users? Type its id: ", cli.Printable(plain[0], 130))
			answer, _ := bufio.NewReader(c.Stdin).ReadString('\n')
			if strings.TrimSpace(answer) != plain[0] {
				return fmt.Errorf("nothing was removed\nnext: type the id, or give --yes")
			}
		}
		var reply api.ProviderRemoveReply
		if err := server.ask(ctx, http.MethodDelete, ath.AdminProvidersPath+"/"+url.PathEscape(plain[0]), nil, &reply); err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(reply)
		}
		_, err = fmt.Fprintln(c.Stdout, cli.Printable(reply.Message, 1000))
		return err
	})
}
