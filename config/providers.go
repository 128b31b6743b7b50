package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

// providers reads providers.json and the apps, which share one namespace.
func (l *loader) providers() {
	var all []*provider.Provider
	if l.c.ProvidersFile != "" {
		all = l.providersFile(l.resolve(l.c.ProvidersFile))
	}
	taken := map[string]bool{}
	for _, p := range all {
		taken[p.ID] = true
	}
	opt := l.providerOptions(l.dir)
	for i, app := range l.c.Apps {
		p, faults := app.Provider(l.Doc, []any{"apps", i}, opt)
		l.Faults = append(l.Faults, faults...)
		if p == nil {
			continue
		}
		if !l.namesFree(i, p, taken) {
			continue
		}
		all = append(all, p)
	}
	if l.c.ProvidersFile == "" && len(l.c.Apps) == 0 || l.c.ProvidersFile != "" && len(all) == 0 && len(l.Faults) == 0 {
		l.Fail("there is no provider and no app: name a file of at least one provider, or an app below apps", "providers_file")
		return
	}
	if len(l.Faults) > 0 || l.Doc.Faulty() {
		return // all lacks what had a fault
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		l.Fail(err.Error(), "providers_file")
		return
	}
	l.noMixUp(set, l.authMethodFault)
	l.s.Providers = set
	l.consentHostIsItsOwn(set)
	for _, p := range set.All() {
		l.warnOfRules(p)
	}
}

// namesFree reports whether all names of an app are its own, and takes them.
func (l *loader) namesFree(i int, p *provider.Provider, taken map[string]bool) bool {
	free := true
	check := func(name string, path ...any) {
		if name != "" && taken[name] {
			l.Fail("is taken: apps and providers share one namespace", append([]any{"apps", i}, path...)...)
			free = false
		}
	}
	spelt := func(ours, tutorial string) string {
		if l.Doc.Has("apps", i, tutorial) {
			return tutorial
		}
		return ours
	}
	check(p.ID, spelt("app_id", "appId"))
	aliases := p.Aliases
	if p.ListedAs != "" {
		check(p.ListedAs, spelt("provider_id", "providerId"))
		aliases = aliases[1:]
	}
	for j, alias := range aliases {
		check(alias, "aliases", j)
	}
	for _, name := range p.Names() {
		taken[name] = true
	}
	return free
}

func (l *loader) providersFile(path string) []*provider.Provider {
	data, ok := l.readFile(l.c.ProvidersFile, configFile, "providers_file")
	if !ok {
		return nil
	}
	all, faults := provider.Parse(path, data, l.providerOptions(filepath.Dir(path)))
	l.Faults = append(l.Faults, faults...)
	return all
}

// providerOptions lets a file name others relative to its own directory.
func (l *loader) providerOptions(dir string) provider.Options {
	public := l.c.PublicURL
	if l.s.PublicURL == "" {
		// It has a fault of its own; apps shall not repeat it.
		public = "https://public-url.invalid"
	}
	consent := l.s.ConsentURL
	if consent == "" {
		consent = l.c.ConsentURL // as above
	}
	return provider.Options{
		AllowHTTP:           l.c.Development.AllowHTTP,
		PublicURL:           public,
		ConsentURL:          consent,
		Env:                 l.Env,
		ReadFile:            func(path string) ([]byte, error) { return l.secretBeside(dir, path) },
		CallbackPerProvider: l.s.CallbackPerProvider,
		StrictScopes:        l.c.StrictScopes,
		Warn:                func(f strict.Fault) { l.warn("%v", f) },
	}
}

// warnOfRules tells what a provider's scopes open, where nobody wrote it down.
func (l *loader) warnOfRules(p *provider.Provider) {
	covered := map[string]bool{}
	var derived []string
	for _, r := range p.Rules {
		covered[r.Scope] = true
		derived = append(derived, fmt.Sprintf("%s: %s %s", r.Scope, strings.Join(r.Methods, ","), strings.Join(r.Paths, ",")))
	}
	var bare []string
	for _, scope := range p.Scopes {
		if !covered[scope] {
			bare = append(bare, scope)
		}
	}
	if p.Derived && len(derived) > 0 {
		l.warn("provider %s: no scope_rules; derived from the scopes' names: %s", p.ID, strings.Join(derived, "; "))
	}
	if len(bare) > 0 {
		l.warn("provider %s: no request is covered by %s: write scope_rules", p.ID, strings.Join(bare, ", "))
	}
}
