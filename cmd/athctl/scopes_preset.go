package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/provider"
)

// A presetView is a preset for programs.
type presetView struct {
	Name          string            `json:"preset"`
	Title         string            `json:"title"`
	Documentation string            `json:"documentation"`
	APIBase       string            `json:"api_base_url"`
	Scopes        []presetScopeView `json:"scopes"`
}

type presetScopeView struct {
	Scope         string  `json:"scope"`
	Documentation string  `json:"documentation"`
	Rules         []opens `json:"rules"`
}

// presetScopes shows what athctl itself knows: the same presets as the athd
// that it was built with.
func (c *command) presetScopes(name string) error {
	if name == "" {
		return c.listPresets()
	}
	p, known := provider.PresetNamed(name)
	if !known {
		var names []string
		for _, p := range provider.Presets() {
			names = append(names, p.Name)
		}
		return fmt.Errorf("there is no preset %q: there are %s\nnext: athctl scopes --server URL %s asks a running athd for a provider of that name", name, strings.Join(names, ", "), name)
	}
	if *c.format == cli.JSON {
		return c.JSON(viewOf(&p))
	}
	if p.APIBase == "" {
		fmt.Fprintf(c.Stdout, "%s: an OAuth server, and no API: what scopes open is scope_rules' to say\n\n", p.Title)
		for _, page := range p.Sources {
			fmt.Fprintln(c.Stdout, page)
		}
		return nil
	}
	fmt.Fprintf(c.Stdout, "%s (%s): paths below %s\n\n", p.Title, p.Documentation, p.APIBase)
	t := scopeTable{columns: []string{"SCOPE", "METHODS", "PATHS", "DOCUMENTATION"}}
	for _, s := range p.Scopes {
		row := scopeRow{scope: s.Scope, last: s.Documentation}
		for _, r := range s.Rules {
			row.rules = append(row.rules, scopeRule{methods: r.Methods, paths: r.Paths})
		}
		t.rows = append(t.rows, row)
	}
	return t.print(c.Stdout)
}

func viewOf(p *provider.Preset) *presetView {
	v := &presetView{Name: p.Name, Title: p.Title, Documentation: p.Documentation, APIBase: p.APIBase, Scopes: []presetScopeView{}}
	for _, s := range p.Scopes {
		rules := []opens{}
		for _, r := range s.Rules {
			rules = append(rules, opens{Methods: r.Methods, Paths: r.Paths, From: "preset"})
		}
		v.Scopes = append(v.Scopes, presetScopeView{s.Scope, s.Documentation, rules})
	}
	return v
}

func (c *command) listPresets() error {
	all := provider.Presets()
	if *c.format == cli.JSON {
		views := []*presetView{}
		for i := range all {
			views = append(views, viewOf(&all[i]))
		}
		return c.JSON(map[string]any{"presets": views})
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PRESET\tSERVICE\tAPI\tSCOPES")
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", p.Name, p.Title, cmp.Or(p.APIBase, "-"), len(p.Scopes))
	}
	return w.Flush()
}
