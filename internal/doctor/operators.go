package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
)

// tokenNotice is how long before its end an admin token is told of.
const tokenNotice = 14 * 24 * time.Hour

// operators looks at who may operate, and for how long.
func (d *doctor) operators(ctx context.Context, f *findings) {
	const asked = "who operates, and until when their admin tokens work"
	var me api.WhoAmI
	why, cure := d.askAthd(ctx, ath.AdminWhoAmIPath, &me)
	if why != "" {
		f.notAsked("token", "what this admin token is good for", why, cure)
	} else {
		until := ""
		if end, err := time.Parse(time.RFC3339, me.Expires); err == nil {
			until = ", until " + me.Expires
			if d.Settings == nil { // else all of them are looked at
				d.expires(f, me.Name, end)
			}
		}
		f.ok("token", "what this admin token is good for", fmt.Sprintf("it is that of %s, with role %s%s", me.Name, me.Role, until))
	}
	if d.Settings == nil {
		return
	}
	tokens := d.Settings.AdminTokens
	switch {
	case len(tokens) == 0:
		f.warn("none", asked, "admin.tokens names nobody: no agent can be approved, suspended or looked at, and no consent be ended",
			"head -c 32 /dev/urandom | base64 > admin.token; in "+d.File+", admin: {tokens: [{name: ops, token_file: admin.token, role: admin}]}")
		return
	case !httpapi.HasAdmin(tokens, d.Now()):
		f.warn("admin", asked, "no token of admin.tokens has the role admin and has not expired: nobody can add a provider, or accept its endpoints",
			"in "+d.File+", give one of admin.tokens role: admin")
	}
	var names []string
	for _, o := range httpapi.OperatorsOf(tokens) {
		names = append(names, o.Name+" ("+string(o.Role)+")")
		if !o.Expires.IsZero() {
			d.expires(f, o.Name, o.Expires)
		}
	}
	f.ok("names", asked, strings.Join(names, ", "))
}

// expires warns of an operator whose last token has ended, or soon will.
func (d *doctor) expires(f *findings, name string, end time.Time) {
	const asked, cure = "whether operators' admin tokens go on", "name the operator's next token beside this one, by the same name (docs/operations.md#replacing-an-operators-token); or take it out of admin.tokens"
	switch left := end.Sub(d.Now()); {
	case left <= 0:
		f.warn("expired", asked, fmt.Sprintf("the admin token of %s has expired at %s, and there is no later one", name, end.UTC().Format(time.RFC3339)), cure)
	case left <= tokenNotice:
		f.warn("expires", asked, fmt.Sprintf("the admin token of %s expires at %s, and there is no later one", name, end.UTC().Format(time.RFC3339)), cure)
	}
}
