package doctor

import (
	"context"
	"fmt"
	"strings"
)

// configuration repeats what athd validate says of athd.yaml.
func (d *doctor) configuration(_ context.Context, f *findings) {
	const asked = "whether athd.yaml and all that it names can be loaded"
	for _, fault := range d.Faults {
		f.fault("load", asked, fault, "correct that line; athd validate --config "+d.file()+" says when all is right")
	}
	if len(d.Faults) > 0 {
		return
	}
	if d.Settings == nil {
		f.notAsked("load", asked, withoutFile, "")
		return
	}
	providers, apps := 0, 0
	for _, p := range d.Settings.Providers.All() {
		if p.App != nil {
			apps++
		} else {
			providers++
		}
	}
	f.ok("load", asked, fmt.Sprintf("%s: %s, %s", d.File, counted(providers, "provider"), counted(apps, "app")))
	for _, w := range d.Settings.Warnings {
		f.warn("warning", "what athd validate warns of", w, d.cureOfKey(w))
	}
}

// cureOfKey is what to write in place of what athd validate warns of.
func (d *doctor) cureOfKey(warning string) string {
	switch {
	case strings.HasPrefix(warning, "development."):
		name, _, _ := strings.Cut(strings.TrimPrefix(warning, "development."), " ")
		return "in " + d.File + ", development: {" + name + ": false}; it is for trying things out"
	case strings.HasPrefix(warning, "consent_url is not set"):
		return "in " + d.File + ", consent_url: https://consent.example.com, a second host name of the same Envoy; then athd bootstrap again"
	case strings.HasPrefix(warning, "operator.contact"):
		return "in " + d.File + ", operator: {contact: help@example.com}, an address at which somebody can run athctl connections end"
	case strings.HasPrefix(warning, "admin.tokens[") && strings.Contains(warning, "].role is not set"):
		return "in " + d.File + ", role: admin, approver or viewer beside its token_file (docs/operations.md#operators-and-their-roles)"
	case strings.Contains(warning, "no scope_rules"):
		return "athctl scopes --server " + d.PublicURL + " PROVIDER shows what each scope opens; write scope_rules where that is not what you want"
	}
	return "change it in " + d.File + " (docs/configuration.md has each key), then athd validate --config " + d.File
}
