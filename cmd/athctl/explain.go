package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newExplain(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "explain METHOD URL",
		Short:   "show how a call would be judged, and why; nobody makes it",
		GroupID: groupChecks,
		Example: `  athctl explain GET /ath/proxy/github/user
  athctl explain --token-stdin --check POST https://shop.example.com/api/cart <token.txt`,
	})
	token := c.Flags().String("token", "", "the `ATH_TOKEN` of the call; every user of this machine can see it in the list of processes")
	fromStdin := c.Flags().Bool("token-stdin", false, "read the ATH token from standard input")
	agentID := c.Flags().String("agent", "", "the `AGENT_ID` that the call would carry; without, that of the token's agent")
	upgrade := c.Flags().String("upgrade", "", "the `PROTOCOL` that the call would ask to switch to, such as websocket")
	check := c.Flags().Bool("check", false, "exit with 1 where the call would be refused")
	return c.runs(func(ctx context.Context, plain []string) error {
		switch {
		case len(plain) != 2:
			return cli.Wrong("want METHOD and URL, such as GET " + ath.ProxyPath + "gallery/pictures/7")
		case *token != "" && *fromStdin:
			return cli.Wrong("--token and --token-stdin are both given")
		}
		held := ath.NewSecret(*token)
		if *fromStdin {
			var err error
			if held, err = readLine(t.Stdin, "standard input"); err != nil {
				return fmt.Errorf("the ATH token: %w", err)
			}
		}
		return c.runExplain(ctx, api.ExplainRequest{
			Token: api.OpenSecret(held), AgentID: *agentID, Method: plain[0], URL: plain[1], Upgrade: *upgrade,
		}, *check)
	})
}

// runExplain prints how a call would be judged. With check, a call that would be
// refused is a no.
func (c *command) runExplain(ctx context.Context, question api.ExplainRequest, check bool) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	var e api.Explanation
	if err := server.ask(ctx, http.MethodPost, ath.AdminExplainPath, question, &e); err != nil {
		return err
	}
	if e.Verdict == "" {
		return fmt.Errorf("%s answered 200, but not as athd does\nnext: check that --server is athd's public URL", server.base)
	}
	if *c.format == cli.JSON {
		err = c.JSON(e)
	} else {
		err = printExplanation(c.Stdout, &e)
	}
	if err == nil && check && e.Verdict == api.WouldRefuse {
		return cli.ErrFound
	}
	return err
}

// printExplanation shows an explanation to people, the verdict last.
func printExplanation(out io.Writer, e *api.Explanation) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(verdict, rule, found string) { fmt.Fprintf(w, "%-7s\t%s\t%s\n", verdict, rule, found) }
	line("", "leads to", cli.Printable(e.Place, 300))
	unasked := 0
	for _, s := range e.Steps {
		if s.Verdict == "not asked" {
			unasked++
			continue
		}
		line(cli.Printable(s.Verdict, 20), cli.Printable(s.Rule, 60), cli.Printable(s.Found, 2500))
	}
	if unasked > 0 {
		line("", counted(unasked, "rule")+" behind it", "not asked")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(e.Nearest) > 0 {
		fmt.Fprintln(out, "\nscopes that come nearest:")
		for _, n := range e.Nearest {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", cli.Printable(n.Scope, 128), cli.Printable(withUpgrade(n.Methods, n.Upgrade), 60), cli.Printable(strings.Join(n.Paths, " "), 300), missing(&n))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%s [%s]\n", verdictOf(e), cli.Printable(e.DecisionID, 60))
	return err
}

// missing says what keeps the rule from covering the call.
func missing(n *api.NearMiss) string {
	var all []string
	if !n.Held {
		all = append(all, "the token does not hold the scope")
	}
	if !n.Method {
		all = append(all, "another method")
	}
	if !n.Path {
		all = append(all, "another path")
	}
	return strings.Join(all, ", ")
}

func verdictOf(e *api.Explanation) string {
	switch e.Verdict {
	case api.WouldAllow:
		return "allow: the scope " + cli.Printable(e.Scope, 128) + " covers it"
	case api.WouldPass:
		return "pass through: it goes on as it came, as a person's call"
	}
	return fmt.Sprintf("%s: %d %s (%s): %s", cli.Printable(string(e.Verdict), 20), e.Status, cli.Printable(string(e.Code), 60), cli.Printable(e.Reason, 60), cli.Printable(e.Message, 500))
}

// withUpgrade is what a rule lets a request do: its methods, and protocols that
// it may switch to.
func withUpgrade(methods, upgrade []string) string {
	text := strings.Join(methods, ",")
	if len(upgrade) > 0 {
		text += " (also " + strings.Join(upgrade, ", ") + ")"
	}
	return text
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
