package doctor

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/config"
	"github.com/athd/athd/provider"
)

// T-8
func TestWhatKeepsConsentsFromStandingIsSaid(t *testing.T) {
	const day = 24 * time.Hour
	ask := func(consent string, terms ath.RenewalTerms, list api.ConnectionList) []Finding {
		t.Helper()
		p := &provider.Provider{ID: "shop", Renewal: terms}
		set, err := provider.NewSet(p)
		if err != nil {
			t.Fatal(err)
		}
		d := &doctor{Config: Config{
			File: "athd.yaml", Settings: &config.Settings{Providers: set, Consent: consent},
			Ask: answers(map[string]any{ath.AdminConnectionsPath: list}),
		}}
		f := &findings{subject: "renewals"}
		d.renewals(t.Context(), f)
		return f.all
	}
	stands := func(found []Finding, want string) {
		t.Helper()
		for _, f := range found {
			if f.ID == "renewals.stand" && f.Status == OK && f.Found == want {
				return
			}
		}
		t.Errorf("no %q in %+v", want, found)
	}
	month := ath.RenewalTerms{Max: 90 * day, Idle: 30 * day}
	none := api.ConnectionList{}
	stands(ask(athflow.ConsentPage, ath.RenewalTerms{}, none), "no: each ATH token needs a consent of its own (tokens.renewal is off)")
	stands(ask(athflow.ConsentPage, month, none), "90d at most, 30d unused (shop); 0 renewals now")
	wants(t, ask(athflow.ConsentRedirect, month, none), "renewals.page", Warning, "consent is redirect: no page tells users", "consent: page")

	found := ask(athflow.ConsentPage, month, api.ConnectionList{Connections: []api.Connection{
		{Provider: "shop", State: api.ConnectionLive, Refreshable: true, Expires: "2026-11-29T01:28:36Z", Renewals: []api.ConnectionRenewal{{}, {}}},
		{Provider: "shop", State: api.ConnectionLive, Expires: "2026-11-29T01:28:36Z"},
		{Provider: "shop", State: api.ConnectionLive}, // its token does not end
		{Provider: "elsewhere", State: api.ConnectionLive, Expires: "2026-11-29T01:28:36Z"},
		{Provider: "shop", State: api.ConnectionExpired, Expires: "2026-11-29T01:28:36Z"},
	}})
	wants(t, found, "renewals.unrefreshable", Warning, "shop gave no refresh token with 1 consent:", "docs/providers.md#refresh")
	stands(found, "90d at most, 30d unused (shop); 2 renewals now")
	if len(found) != 2 {
		t.Errorf("%+v", found)
	}
}
