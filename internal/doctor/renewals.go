package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/athflow"
)

const maxConnections = 1000

// renewals looks at the consents that stand, and whether agents can use them (T-8).
func (d *doctor) renewals(ctx context.Context, f *findings) {
	const asked = "whether users' consents stand, and agents can renew by them"
	if d.Settings == nil {
		f.notAsked("stand", asked, withoutFile, "")
		return
	}
	terms := map[string][]string{}
	on := map[string]bool{}
	for _, p := range d.Settings.Providers.All() {
		if !p.Renewal.IsZero() {
			said := ath.FormatDuration(p.Renewal.Max) + " at most, " + ath.FormatDuration(p.Renewal.Idle) + " unused"
			terms[said], on[p.ID] = append(terms[said], p.ID), true
		}
	}
	if len(on) == 0 {
		f.ok("stand", asked, "no: each ATH token needs a consent of its own (tokens.renewal is off)")
		return
	}
	if d.Settings.Consent != athflow.ConsentPage {
		f.warn("page", asked, "consent is "+d.Settings.Consent+": no page tells users how long a consent stands, and so no agent gets a renewal",
			"in "+d.File+", consent: page; or take tokens.renewal, and renewal of providers, away")
		return
	}
	var said []string
	for _, t := range slices.Sorted(maps.Keys(terms)) {
		said = append(said, t+" ("+strings.Join(terms[t], ", ")+")")
	}
	found := strings.Join(said, "; ")
	var list api.ConnectionList
	if why, cure := d.askAthd(ctx, fmt.Sprintf("%s?limit=%d", ath.AdminConnectionsPath, maxConnections), &list); why != "" {
		f.notAsked("stand", asked, why, cure)
		return
	}
	stand, short := 0, map[string]int{}
	for _, c := range list.Connections {
		stand += len(c.Renewals)
		if len(c.Renewals) == 0 && on[c.Provider] && !c.Refreshable && c.Expires != "" && c.State == api.ConnectionLive {
			short[c.Provider]++
		}
	}
	for _, p := range slices.Sorted(maps.Keys(short)) {
		f.warn("unrefreshable", asked, fmt.Sprintf("%s gave no refresh token with %s: an agent cannot renew there beyond the user's token, and its user is asked again", p, counted(short[p], "consent")),
			"docs/providers.md#refresh says what servers want for one (a scope such as offline_access, a parameter, a setting of the client)")
	}
	more := ""
	if list.Next != "" {
		more = " and more"
	}
	f.ok("stand", asked, fmt.Sprintf("%s; %s%s now", found, counted(stand, "renewal"), more))
}
