package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

// A scopesOf is a provider's scopes and what each one opens there.
type scopesOf struct {
	Provider string       `json:"provider_id"`
	APIBase  string       `json:"api_base_url"`
	Preset   string       `json:"preset"`
	Scopes   []scopeOpens `json:"scopes"`
}

type scopeOpens struct {
	Scope string  `json:"scope"`
	Rules []opens `json:"rules"` // none: nothing
}

type opens struct {
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	Upgrade []string `json:"upgrade,omitempty"`
	From    string   `json:"from"`
}

// serverScopes shows by which rules a running athd judges.
func (c *command) serverScopes(ctx context.Context, name string) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	all, err := server.providers(ctx)
	if err != nil {
		return err
	}
	if name == "" {
		return c.listProviders(all.Providers)
	}
	i := slices.IndexFunc(all.Providers, func(p api.Provider) bool { return p.ID == name })
	if i < 0 {
		return fmt.Errorf("there is no provider and no app %q at %s\nnext: athctl scopes --server URL lists them", name, server.base)
	}
	s := rulesOf(&all.Providers[i])
	if *c.format == cli.JSON {
		return c.JSON(s)
	}
	return s.print(c, &all.Providers[i])
}

// rulesOf orders the rules by scope.
func rulesOf(p *api.Provider) *scopesOf {
	s := &scopesOf{Provider: p.ID, APIBase: p.APIBase, Preset: p.Preset, Scopes: []scopeOpens{}}
	for _, scope := range p.Scopes {
		o := scopeOpens{Scope: scope, Rules: []opens{}}
		for _, r := range p.Rules {
			if r.Scope == scope {
				o.Rules = append(o.Rules, opens{r.Methods, r.Paths, r.Upgrade, r.Origin})
			}
		}
		s.Scopes = append(s.Scopes, o)
	}
	return s
}

func (s *scopesOf) print(c *command, p *api.Provider) error {
	kind := "provider"
	if p.App != nil {
		kind = "app"
	}
	fmt.Fprintf(c.Stdout, "%s %s: paths below %s\n\n", kind, cli.Printable(s.Provider, 64), cli.Printable(s.APIBase, 2048))
	t := scopeTable{columns: []string{"SCOPE", "METHODS", "PATHS", "FROM"}}
	for _, o := range s.Scopes {
		row := scopeRow{scope: o.Scope}
		for _, r := range o.Rules {
			row.rules = append(row.rules, scopeRule{r.Methods, r.Paths, r.Upgrade, from(r.From, s.Preset)})
		}
		t.rows = append(t.rows, row)
	}
	return t.print(c.Stdout)
}

// from says where a rule comes from, for people.
func from(origin, preset string) string {
	switch origin {
	case "preset":
		return "preset " + preset
	case "derived":
		return "derived from the scope's name"
	}
	return origin
}

func (c *command) listProviders(all []api.Provider) error {
	if *c.format == cli.JSON {
		list := []*scopesOf{}
		for i := range all {
			list = append(list, rulesOf(&all[i]))
		}
		return c.JSON(map[string]any{"providers": list})
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROVIDER\tNAME\tAPI\tRULES FROM")
	for i := range all {
		p := &all[i]
		var origins []string
		for _, r := range p.Rules {
			if o := from(r.Origin, p.Preset); !slices.Contains(origins, o) {
				origins = append(origins, o)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", cli.Printable(p.ID, 64), cli.Printable(p.DisplayName, 60), cli.Printable(p.APIBase, 300), dash(cli.Printable(strings.Join(origins, ", "), 200)))
	}
	return w.Flush()
}
