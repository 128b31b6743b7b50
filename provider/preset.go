package provider

import (
	"embed"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/strict"
)

// A Preset is what is known of a service whose scopes do not mean what their
// names say: which requests each of them covers, by the service's own
// documentation.
type Preset struct {
	Name          string // as in the field preset of providers.json
	Title         string
	Documentation string        // URL of the API's reference
	Sources       []string      // URLs of pages that say how its OAuth server behaves
	APIBase       string        // what its rules' paths are relative to; "": it knows an OAuth server, and no API
	ByName        bool          // it is chosen by the field preset only
	Encoded       ath.Encodable // what the API's ids hold, percent-encoded
	Scopes        []PresetScope
	Start         PresetStart
}

// A PresetStart is what a first configuration says of the service. Its zero
// value says that the service has none.
type PresetStart struct {
	AuthorizeEndpoint string   `yaml:"authorize_endpoint"`
	TokenEndpoint     string   `yaml:"token_endpoint"`
	Scopes            []string `yaml:"scopes"`         // the least that is of use
	HTTPSCallback     bool     `yaml:"https_callback"` // it registers no http redirect URI, not even on loopback
}

// A PresetScope is a scope with the rules that it stands for.
type PresetScope struct {
	Scope         string
	Documentation string // URL of the page that the rules can be checked against
	Rules         []Rule
}

// Presets returns the presets that are built in, ordered by name.
func Presets() []Preset {
	var all []Preset
	for _, f := range builtIn() {
		all = append(all, f.preset())
	}
	return all
}

// PresetNamed returns one preset.
func PresetNamed(name string) (Preset, bool) {
	all := Presets()
	if i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name }); i >= 0 {
		return all[i], true
	}
	return Preset{}, false
}

// noPreset is the value of the field preset that switches presets off.
const noPreset = "none"

//go:embed presets/*.json
var presetFiles embed.FS

// A presetFile is a file of presets/.
type presetFile struct {
	Name          string            `yaml:"name"`
	Title         string            `yaml:"title"`
	Documentation string            `yaml:"documentation"`
	Hosts         []ath.HostPattern `yaml:"hosts"`           // of OAuth and the API
	APIBase       string            `yaml:"api_base_url"`    // what the rules' paths are relative to
	OtherBases    []string          `yaml:"other_base_urls"` // where the same API is, too
	Encoded       []string          `yaml:"allow_encoded"`   // as in providers.json
	ByName        bool              `yaml:"by_name"`         // never chosen by its hosts: the operator must say it
	ClientIDs     []string          `yaml:"client_ids"`      // of one that is chosen by name: how client ids begin that want it
	ScopesOf      string            `yaml:"scopes_of"`       // another preset whose scopes these are, too
	OAuth         oauthDefaults     `yaml:"oauth"`
	Scopes        []presetScope     `yaml:"scopes"`
	Start         PresetStart       `yaml:"start"` // for athd init
}

type presetScope struct {
	Scope         string `yaml:"scope"`
	Documentation string `yaml:"documentation"`
	Rules         []struct {
		Methods []string `yaml:"methods"`
		Paths   []string `yaml:"paths"`
	} `yaml:"rules"`
}

// builtIn returns the presets, which never change; they are decoded once, by
// whoever asks first. Nobody writes to what it returns.
var builtIn = sync.OnceValue(readPresets)

// readPresets decodes the files, as strictly as an operator's. They are part
// of the program: a fault in one is a fault of the program.
func readPresets() []presetFile {
	entries, err := presetFiles.ReadDir("presets")
	if err != nil {
		panic(err)
	}
	var all []presetFile
	for _, e := range entries {
		data, err := presetFiles.ReadFile("presets/" + e.Name())
		if err != nil {
			panic(err)
		}
		var f presetFile
		if _, faults := strict.JSON(e.Name(), data, &f); faults != nil {
			panic(faults)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b presetFile) int { return strings.Compare(a.Name, b.Name) })
	for i := range all {
		if all[i].ScopesOf == "" {
			continue
		}
		of := slices.IndexFunc(all, func(f presetFile) bool { return f.Name == all[i].ScopesOf && f.ScopesOf == "" })
		if of < 0 {
			panic("preset " + all[i].Name + ": scopes_of names no preset with scopes of its own")
		}
		all[i].Scopes = append(slices.Clone(all[of].Scopes), all[i].Scopes...)
	}
	return all
}

func (f *presetFile) preset() Preset {
	p := Preset{Name: f.Name, Title: f.Title, Documentation: f.Documentation, APIBase: f.APIBase, ByName: f.ByName, Encoded: f.encoded(), Sources: f.OAuth.Sources, Start: f.Start}
	for _, s := range f.Scopes {
		p.Scopes = append(p.Scopes, PresetScope{s.Scope, s.Documentation, f.rules(ath.Scopes{s.Scope}, rebase{})})
	}
	return p
}

// encoded is what the API's ids hold, percent-encoded.
func (f *presetFile) encoded() ath.Encodable {
	e, ok := ath.Encodables(strings.Join(f.Encoded, ""))
	if !ok {
		panic("preset " + f.Name + ": allow_encoded")
	}
	return e
}

// rules returns the rules of those scopes that are available.
func (f *presetFile) rules(available ath.Scopes, moved rebase) []Rule {
	var rules []Rule
	for _, s := range f.Scopes {
		if !available.Has(s.Scope) {
			continue
		}
		for _, e := range s.Rules {
			r := Rule{Scope: s.Scope, Methods: slices.Clone(e.Methods), Origin: OriginPreset}
			for _, path := range e.Paths {
				p, ok := compile(path, f.encoded())
				if !ok {
					panic(fmt.Sprintf("preset %s, scope %s: %q is no path of a rule", f.Name, s.Scope, path))
				}
				if p, ok = moved.apply(p); ok {
					r.patterns, r.Paths = append(r.patterns, p), append(r.Paths, p.String())
				}
			}
			if len(r.patterns) > 0 {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// PresetAt returns the preset of an OAuth server of somebody's own that is at one
// of these URLs, whom nothing chooses but the field preset; false: none is known.
func PresetAt(urls ...*url.URL) (Preset, bool) {
	for _, f := range builtIn() {
		if f.ByName && !f.describesAPI() && f.knows(urls...) {
			return f.preset(), true
		}
	}
	return Preset{}, false
}

// Unnamed returns the preset that knows the provider's OAuth server, where the
// configuration names neither one nor none.
func (p *Provider) Unnamed() (Preset, bool) {
	if p.noPreset || p.Preset != "" {
		return Preset{}, false
	}
	return PresetAt(p.AuthorizeURL, p.TokenURL)
}

// describesAPI reports whether the preset is of a service with an API of its own.
// One that is not has the habits of an OAuth server only: the API behind it is
// somebody's own, and so is what its scopes mean.
func (f *presetFile) describesAPI() bool { return f != nil && f.APIBase != "" }

// knows reports whether one of the URLs is at the service's hosts.
func (f *presetFile) knows(urls ...*url.URL) bool {
	return slices.ContainsFunc(urls, func(u *url.URL) bool {
		return u != nil && slices.ContainsFunc(f.Hosts, func(p ath.HostPattern) bool { return p.Match(hostOf(u)) })
	})
}

// place finds the one of the API's bases that is at the same host as base, and
// above or below it, and says how paths move from there.
func (f *presetFile) place(base *url.URL) (moved rebase, ok bool) {
	for _, known := range append([]string{f.APIBase}, f.OtherBases...) {
		u, err := url.Parse(known)
		if err != nil {
			panic(err)
		}
		if hostOf(u) != hostOf(base) {
			continue
		}
		if moved, ok = newRebase(u, base); ok {
			return moved, true
		}
	}
	return rebase{}, false
}

// hostOf returns the host of a URL, whatever its port; the zero Host if it has
// none that can be read, which no preset knows.
func hostOf(u *url.URL) ath.Host {
	h, _ := ath.HostOf(u)
	return h.WithoutPort()
}
