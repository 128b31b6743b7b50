package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/doctor"
	"github.com/athd/athd/internal/remote"
	"github.com/athd/athd/internal/version"
	"github.com/athd/athd/strict"
)

func newDoctor(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "doctor",
		Short:   "ask everything that athd needs, and say what is wrong and what to do",
		GroupID: groupChecks,
		Long: `doctor asks Redis, athd, Envoy, the public and the consent URL, the providers'
servers and the clocks, and says of each what it asked, what it found, and where
that is wrong the cause and the cure. It changes nothing.

Where athd.yaml is, it reads that, and asks as athd does. Elsewhere, with
--server, it asks what can be asked from outside, and says what it did not ask.
It exits with 1 where there is a fault; warnings are none.`,
		Example: `  athctl doctor --config athd.yaml
  athctl doctor --server https://gateway.example.com --token-file admin.token
  athctl doctor --envoy http://127.0.0.1:9901 --admin http://127.0.0.1:9002 -o json`,
	})
	file := cli.ConfigFlag(c.Command)
	admin := c.Flags().String("admin", "", "athd's listen.admin: `URL`, host:port or unix:/path; without, that of athd.yaml")
	envoy := c.Flags().String("envoy", "", "the `URL` of Envoy's admin pages; without, envoy.admin of athd.yaml")
	return c.runs(func(ctx context.Context, _ []string) error {
		d := doctor.Config{Envoy: *envoy, Version: version.Current().Version}
		if *admin != "" {
			a, err := config.ParseAddress(strings.TrimSuffix(strings.TrimPrefix(*admin, "http://"), "/"))
			if err != nil {
				return cli.Wrong("--admin: %v", err)
			}
			a = a.Dialable()
			d.Admin = &a
		}
		return c.runDoctor(ctx, d, *file)
	})
}

// runDoctor reads athd.yaml where it is, unless another server is named.
func (c *command) runDoctor(ctx context.Context, d doctor.Config, file string) error {
	named, elsewhere := c.Flags().Changed("config"), c.Flags().Changed("server")
	_, err := os.Stat(file)
	switch {
	case named && elsewhere:
		return cli.Wrong("want either --config or --server: athd.yaml says where its athd is")
	case named || err == nil && !elsewhere:
		d.File = file
		s, faults := config.Load(file, config.Sources{Env: c.LookupEnv, ReadFile: config.ReadFile})
		if d.Settings = s; s == nil {
			d.Faults = lines(faults)
		}
		c.askNear(&d)
	case *c.Server == "":
		return cli.Wrong("there is no %s here: name one with --config, or a server with --server", file)
	default:
		var err error // http is said to whom it matters: with a token
		if d.PublicURL, err = remote.Base(*c.Server, true, ""); err != nil {
			return cli.Wrong("--server: %v", err)
		}
		c.askFar(&d)
	}
	return c.examine(ctx, d)
}

func lines(faults strict.Faults) (all []string) {
	for _, f := range faults {
		all = append(all, f.String())
	}
	return all
}

// examine runs the doctor, and prints as it goes.
func (c *command) examine(ctx context.Context, d doctor.Config) error {
	var count doctor.Count
	all := []doctor.Finding{}
	var failed error
	asJSON := *c.format == cli.JSON
	fmt.Fprintln(c.Stderr, "asking everything at once; what does not answer is given up after some seconds")
	doctor.Run(ctx, d, func(title string, found []doctor.Finding) {
		count.Add(found)
		all = append(all, found...)
		if !asJSON && failed == nil {
			failed = doctor.Print(c.Stdout, title, found)
		}
	}, func(title string) { fmt.Fprintf(c.Stderr, "still asking about %s\n", title) })
	switch {
	case failed != nil:
		return failed
	case asJSON:
		if err := c.JSON(struct {
			Findings []doctor.Finding `json:"findings"`
			Count    doctor.Count     `json:"count"`
		}{all, count}); err != nil {
			return err
		}
	default:
		if _, err := fmt.Fprintln(c.Stdout, count); err != nil {
			return err
		}
	}
	if count.Faults > 0 {
		return cli.ErrFound
	}
	return nil
}

// askNear asks the athd of a configuration, past Envoy where that can be.
func (c *command) askNear(d *doctor.Config) {
	s := d.Settings
	if s == nil {
		return
	}
	// ATHCTL_TOKEN_FILE is for another server, perhaps.
	tokenFile := s.AdminTokenFile
	if c.Flags().Changed("token-file") {
		tokenFile = *c.tokenFile
	}
	if tokenFile == "" {
		d.NoAsk = "there is no admin token: admin.tokens of " + d.File + " has none"
		return
	}
	token, err := readToken(tokenFile)
	if err != nil {
		d.NoAsk = "the admin token: " + err.Error()
		return
	}
	client := &adminClient{base: s.PublicURL, token: token, http: newHTTP(nil)}
	switch {
	case s.AdminPrivate && s.Admin.AnyPort():
		d.NoAsk = "operators are served on listen.admin, whose port is not known"
		return
	case s.AdminPrivate:
		a := s.Admin.Dialable()
		client.base, client.http = "http://athd", newHTTP(&a)
	case s.TLS == nil && !s.HTTP.AnyPort():
		a := s.HTTP.Dialable()
		// By the public URL's host, which athd looks at.
		client.base, client.http = "http://"+strings.TrimPrefix(strings.TrimPrefix(s.PublicURL, "https://"), "http://"), newHTTP(&a)
	default: // by Envoy, from wherever public_url is
		if _, err := remote.Base(s.PublicURL, false, "the admin token"); err != nil {
			d.NoAsk = err.Error()
			return
		}
	}
	d.Ask = asking(client)
}

// askFar asks the server that flags and environment name.
func (c *command) askFar(d *doctor.Config) {
	if *c.tokenFile == "" {
		d.NoAsk = "there is no admin token (--token-file)"
		return
	}
	client, err := c.connect()
	if err != nil {
		d.NoAsk = err.Error()
		return
	}
	client.http.Timeout = doctorPatience
	d.Ask = asking(client)
}

// doctorPatience is for one request of the doctor's.
const doctorPatience = 10 * time.Second

// asking is the client as the doctor wants it.
func asking(client *adminClient) func(context.Context, string, any) error {
	return func(ctx context.Context, path string, into any) error {
		err := client.ask(ctx, http.MethodGet, path, nil, into)
		if refused, ok := errors.AsType[*refusal](err); ok {
			return &doctor.AskError{Cause: refused.Error(), Cure: refused.next(false)}
		}
		if err != nil {
			cause, cure, _ := strings.Cut(err.Error(), "\nnext: ")
			return &doctor.AskError{Cause: cause, Cure: cure}
		}
		return nil
	}
}
