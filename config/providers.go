package config

import (
	"path/filepath"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

// providers reads providers.json and the apps, which share one namespace.
func (l *loader) providers() {
	var all []*provider.Provider
	if l.c.ProvidersFile != "" {
		l.s.ProvidersFile = l.resolve(l.c.ProvidersFile)
		all = l.providersFile(l.s.ProvidersFile)
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
	for _, p := range provider.MixedUp(set, l.s.CallbackPerProvider) {
		l.authMethodFault(p.ID, provider.MixUp)
	}
	l.s.Providers, l.s.StrictScopes = set, l.c.StrictScopes
	l.consentHostIsItsOwn(set)
	l.renewals(set)
	for _, p := range set.All() {
		for _, text := range p.RuleAdvice() {
			l.warn("provider %s: %s", p.ID, text)
		}
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
		Renewal:             l.s.Renewal,
		TokenTTL:            l.s.TokenTTL,
		StrictScopes:        l.c.StrictScopes,
		ChecksReplies:       l.c.Envoy.Replies == "checked",
		Warn:                func(f strict.Fault) { l.warn("%v", f) },
	}
}
