package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config/schema"
	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/version"
	"github.com/athd/athd/provider/metadata"
)

// A beginning is what init is told.
type beginning struct {
	starter.Choices
	issuer, dir, secretFile string
	github, allowPrivate    bool
	path                    string // athd.yaml
}

func newInit(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:   "init",
		Short: "write a first athd.yaml, for an API of your own or a known service",
		Long: `Writes athd.yaml with a comment on each line, and what else athd up and athctl
need to begin: .athd/admin.token and, for a known service, providers.json. What
is there already is never overwritten. Where a terminal is there it asks for
what the flags do not say.

For an API of your own it reads the metadata of your OAuth server: the issuer's
/.well-known/openid-configuration or /.well-known/oauth-authorization-server.

A client secret is never taken from the command line, which every program of
the machine can read: it comes from the environment, or from the file that
--client-secret-file names.`,
		GroupID: groupConfigure,
		Example: `  athd init --issuer https://login.example.com --upstream http://127.0.0.1:3000 --client-id athd
  athd init --github --client-id Ov23liabc123
  athd init --preset google-calendar --scope https://www.googleapis.com/auth/calendar.events`,
	}
	var b beginning
	f := c.Flags()
	f.StringVar(&b.issuer, "issuer", "", "your OAuth server: the issuer's `URL`, exactly as its metadata has it")
	f.StringVar(&b.Upstream, "upstream", "", "your API's `URL`, where Envoy reaches it")
	f.StringVar(&b.ID, "app-id", "", "the `ID` by which agents know your API (default shop)")
	f.BoolVar(&b.github, "github", false, "GitHub's API; the same as --preset github")
	f.StringVar(&b.Preset, "preset", "", "a known service in place of an API of your own, by its `NAME`: "+strings.Join(starter.Presets(), ", "))
	cli.Complete(c, "preset", starter.Presets()...)
	f.StringVar(&b.ClientID, "client-id", "", "athd's `ID` at the OAuth server (default: the environment says it)")
	f.StringVar(&b.secretFile, "client-secret-file", "", "a `file`, mode 0600, with the client secret (default: the environment says it)")
	f.StringSliceVar(&b.Scopes, "scope", nil, "a `scope` that agents may ask for; several times, or with commas (default: what the metadata lists)")
	f.StringVar(&b.PublicURL, "public-url", "http://localhost:8080", "Envoy's `URL` as agents and browsers see it; on a loopback host, development options are switched on")
	f.StringVar(&b.dir, "dir", ".", "the `folder` to write to")
	f.BoolVar(&b.allowPrivate, "allow-private-issuer", false, "with a public URL that is not on this machine: the issuer may be at a private address")
	c.RunE = func(c *cobra.Command, _ []string) error { return runInit(c.Context(), b, t) }
	return c
}

// runInit writes a first configuration, or nothing.
func runInit(ctx context.Context, b beginning, t terminal) error {
	if err := b.settle(); err != nil {
		return err
	}
	if err := b.nothingThere(); err != nil {
		return err
	}
	if err := b.ask(t); err != nil {
		return err
	}
	if err := b.complete(); err != nil {
		return err
	}
	var left []string
	if b.issuer != "" {
		fmt.Fprintf(t.Stderr, "asking %s for its metadata, %v at most\n", cli.Printable(b.issuer, 300), metadata.Timeout)
		server, err := metadata.Fetch(ctx, b.client(), b.issuer)
		if err != nil {
			return b.explain(err, t)
		}
		b.Server, b.PrivateIssuer = server, b.allowPrivate && !b.Trying()
		if len(b.Scopes) == 0 {
			if _, left, err = starter.ScopesOf(server); err != nil {
				return fmt.Errorf("%s\nnext: --scope SCOPE, as your API's documentation names it", cli.Printable(err.Error(), 2000))
			}
		}
	}
	b.Schema = schema.URL(version.Current().Version)
	files, err := starter.Make(b.Choices)
	if err != nil {
		return cli.Lines(fmt.Errorf("athd init: what the flags and the server say makes no configuration:\n%w", err))
	}
	written, err := b.write(files)
	if err != nil {
		return err
	}
	b.tell(t.Stdout, files, written, left)
	return nil
}

// settle makes one spelling of several.
func (b *beginning) settle() (err error) {
	if b.github {
		if b.Preset != "" && b.Preset != "github" {
			return cli.Wrong("--github and --preset %s are two services", b.Preset)
		}
		b.Preset = "github"
	}
	switch {
	case b.Preset != "" && !slices.Contains(starter.Presets(), b.Preset):
		return cli.Wrong("there is no preset %q to begin with: there are %s", b.Preset, strings.Join(starter.Presets(), ", "))
	case b.Preset != "" && b.issuer != "":
		return cli.Wrong("--issuer is for an API of your own, --preset for a known service")
	case b.Preset != "" && b.Upstream != "":
		return cli.Wrong("--upstream is for an API of your own: the one of %s is known", b.Preset)
	case b.Preset != "" && b.ID != "":
		return cli.Wrong("--app-id is for an API of your own: agents know the one of %s as %s", b.Preset, b.Preset)
	}
	if b.Dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	b.path = filepath.Join(b.dir, "athd.yaml")
	if b.secretFile != "" {
		return b.nameSecret()
	}
	return nil
}

// nameSecret names the secret's file as athd.yaml will: relative to itself,
// where it is below it.
func (b *beginning) nameSecret() error {
	path, err := filepath.Abs(b.secretFile)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("--client-secret-file: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("--client-secret-file: others can read %s (mode %#o)\nnext: chmod 600 %s", b.secretFile, info.Mode().Perm(), b.secretFile)
	case info.Size() == 0:
		return fmt.Errorf("--client-secret-file: %s is empty", b.secretFile)
	}
	b.SecretFile = path
	if below, err := filepath.Rel(b.Dir, path); err == nil && filepath.IsLocal(below) {
		b.SecretFile = below
	}
	return nil
}

// nothingThere refuses to begin where something has begun.
func (b *beginning) nothingThere() error {
	for _, name := range []string{"athd.yaml", "providers.json"} {
		path := filepath.Join(b.dir, name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already, and is never overwritten\nnext: athd up runs it, athd validate checks it; or --dir FOLDER for another", path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// complete says what is missing, all at once.
func (b *beginning) complete() error {
	if b.Preset != "" {
		return nil
	}
	var missing []string
	if b.issuer == "" {
		missing = append(missing, "--issuer URL, your OAuth server")
	}
	if b.Upstream == "" {
		missing = append(missing, "--upstream URL, your API")
	}
	if len(missing) > 0 {
		return cli.Wrong("want %s; or --github or --preset NAME for a service that athd knows (%s)", strings.Join(missing, ", and "), strings.Join(starter.Presets(), ", "))
	}
	return nil
}

// client fetches the metadata: on one's own machine the server may be
// there too.
func (b *beginning) client() *http.Client {
	return egress.NewClient(egress.Config{Policy: egress.Policy{AllowPrivate: b.allowPrivate || b.Trying(), AllowHTTP: true}})
}

// explain adds to an error of the fetch what can be done about it.
func (b *beginning) explain(err error, t terminal) error {
	e, ok := errors.AsType[*metadata.Error](err)
	if !ok {
		return err
	}
	next := "check --issuer: it is what the server calls itself, without /.well-known/…"
	switch e.Reason {
	case metadata.OtherIssuer:
		next = "if that is your server: --issuer " + cli.ShellWord(e.Got, 300)
	case metadata.Refused:
		next = "if it is a server of your own network: --allow-private-issuer"
	case metadata.Unreachable:
		next = "check that it runs, and that this machine reaches it"
		if t.Env("HTTPS_PROXY")+t.Env("https_proxy") != "" { // it would ask for any address
			next += " without the proxy of HTTPS_PROXY, which athd init does not use (athd does); else write athd.yaml by hand: docs/guides/your-api.md"
		}
	case metadata.Untrusted:
		next = "have this machine trust the CA of that certificate (SSL_CERT_FILE)"
	case metadata.NotFound, metadata.Malformed:
		next = "check --issuer; for a server without metadata write athd.yaml by hand: docs/guides/your-api.md"
	}
	return fmt.Errorf("%s\nnext: %s", cli.Printable(e.Error(), 1000), next)
}
