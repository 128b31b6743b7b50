package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/cli"
)

// An explanation is what the server says of a call that nobody makes.
type explanation struct {
	DecisionID string   `json:"decision_id"`
	Time       string   `json:"time"`
	Verdict    string   `json:"verdict"` // allow, refuse or pass through
	Status     int      `json:"status,omitempty"`
	Code       string   `json:"code,omitempty"`
	Message    string   `json:"message,omitempty"`
	Reason     string   `json:"reason"`
	Place      string   `json:"place"`
	Provider   string   `json:"provider_id"`
	Agent      string   `json:"agent_id"`
	User       string   `json:"user_id"`
	Scopes     []string `json:"scopes"`
	Scope      string   `json:"scope"`
	Steps      []step   `json:"steps"`
	Nearest    []near   `json:"nearest"`
}

type step struct {
	Rule    string `json:"rule"`
	Found   string `json:"found"`
	Verdict string `json:"verdict"` // ok, refuses, passes or not asked
}

// A near is a rule of a scope that does not cover the call, but almost.
type near struct {
	Scope   string   `json:"scope"`
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	Upgrade []string `json:"upgrade,omitempty"`
	Held    bool     `json:"scope_held"`
	Method  bool     `json:"method_fits"`
	Path    bool     `json:"path_fits"`
}

func runExplain(ctx context.Context, args []string, t cli.Terminal) error {
	c := newCommand("explain", t)
	token := c.String("token", "", "the `ATH_TOKEN` of the call; every user of this machine can see it in the list of processes")
	fromStdin := c.Bool("token-stdin", false, "read the ATH token from standard input")
	agentID := c.String("agent", "", "the `AGENT_ID` that the call would carry; without, that of the token's agent")
	upgrade := c.String("upgrade", "", "the `PROTOCOL` that the call would ask to switch to, such as websocket")
	check := c.Bool("check", false, "exit with 1 where the call would be refused")
	plain, err := c.ParseArgs(args)
	switch {
	case err != nil:
		return err
	case len(plain) != 2:
		return c.Wrong("want METHOD and URL, such as GET " + ath.ProxyPath + "gallery/pictures/7")
	case *token != "" && *fromStdin:
		return c.Wrong("-token and -token-stdin are both given")
	}
	held := ath.NewSecret(*token)
	if *fromStdin {
		if held, err = readLine(t.Stdin, "standard input"); err != nil {
			return fmt.Errorf("the ATH token: %w", err)
		}
	}
	server, err := c.connect()
	if err != nil {
		return err
	}
	question := map[string]string{"token": held.Reveal(), "agent_id": *agentID, "method": plain[0], "url": plain[1]}
	if *upgrade != "" {
		question["upgrade"] = *upgrade
	}
	var e explanation
	if err := server.ask(ctx, http.MethodPost, ath.AdminExplainPath, question, &e); err != nil {
		return err
	}
	if e.Verdict == "" {
		return fmt.Errorf("%s answered 200, but not as athd does\nnext: check that -server is athd's public URL", server.base)
	}
	if *c.Format == "json" {
		err = c.JSON(e)
	} else {
		err = e.print(t.Stdout)
	}
	if err == nil && *check && e.Verdict == "refuse" {
		return cli.ErrFound
	}
	return err
}

// print shows an explanation to people, the verdict last.
func (e *explanation) print(out io.Writer) error {
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
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", cli.Printable(n.Scope, 128), cli.Printable(withUpgrade(n.Methods, n.Upgrade), 60), cli.Printable(strings.Join(n.Paths, " "), 300), n.why())
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%s [%s]\n", e.verdict(), cli.Printable(e.DecisionID, 60))
	return err
}

// why says what keeps the rule from covering the call.
func (n *near) why() string {
	var missing []string
	if !n.Held {
		missing = append(missing, "the token does not hold the scope")
	}
	if !n.Method {
		missing = append(missing, "another method")
	}
	if !n.Path {
		missing = append(missing, "another path")
	}
	return strings.Join(missing, ", ")
}

func (e *explanation) verdict() string {
	switch e.Verdict {
	case "allow":
		return "allow: the scope " + cli.Printable(e.Scope, 128) + " covers it"
	case "pass through":
		return "pass through: it goes on as it came, as a person's call"
	}
	return fmt.Sprintf("%s: %d %s (%s): %s", cli.Printable(e.Verdict, 20), e.Status, cli.Printable(e.Code, 60), cli.Printable(e.Reason, 60), cli.Printable(e.Message, 500))
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
