package doctor

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/config"
	"github.com/athd/athd/httpapi"
)

// proves: O-1
func TestOperatorsWhoseTokensEndAreNamedInTime(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	in := func(days int) time.Time { return now.Add(time.Duration(days) * 24 * time.Hour) }
	token := func(name string, role api.Role, end time.Time) httpapi.AdminToken {
		return httpapi.AdminToken{Operator: httpapi.Operator{Name: name, Role: role, Expires: end}}
	}
	ask := func(me api.WhoAmI, tokens ...httpapi.AdminToken) []Finding {
		d := &doctor{Config: Config{
			File: "athd.yaml", Settings: &config.Settings{AdminTokens: tokens}, Now: func() time.Time { return now },
			Ask: answers(map[string]any{ath.AdminWhoAmIPath: me}),
		}}
		f := &findings{subject: "operators"}
		d.operators(t.Context(), f)
		return f.all
	}
	me := api.WhoAmI{Name: "ops", Role: api.RoleAdmin}
	for name, c := range map[string]struct {
		tokens    []httpapi.AdminToken
		id, cause string // "": no warning
	}{
		"all goes on":               {[]httpapi.AdminToken{token("ops", api.RoleAdmin, time.Time{})}, "", ""},
		"there is time":             {[]httpapi.AdminToken{token("ops", api.RoleAdmin, in(15))}, "", ""},
		"it ends soon":              {[]httpapi.AdminToken{token("ops", api.RoleAdmin, in(14))}, "operators.expires", "the admin token of ops expires at 2026-12-13T12:00:00Z"},
		"it has ended":              {[]httpapi.AdminToken{token("ops", api.RoleAdmin, time.Time{}), token("eva", api.RoleViewer, in(0))}, "operators.expired", "the admin token of eva has expired"},
		"the next one is there":     {[]httpapi.AdminToken{token("ops", api.RoleAdmin, in(3)), token("ops", api.RoleAdmin, time.Time{})}, "", ""},
		"the next one was first":    {[]httpapi.AdminToken{token("ops", api.RoleAdmin, time.Time{}), token("ops", api.RoleAdmin, in(3))}, "", ""},
		"the next one ends, too":    {[]httpapi.AdminToken{token("ops", api.RoleAdmin, in(13)), token("ops", api.RoleAdmin, in(3))}, "operators.expires", "of ops expires at 2026-12-12T12:00:00Z"},
		"nobody may do everything":  {[]httpapi.AdminToken{token("april", api.RoleApprover, time.Time{})}, "operators.admin", "no token of admin.tokens has the role admin"},
		"the one who may has ended": {[]httpapi.AdminToken{token("ops", api.RoleAdmin, in(-1))}, "operators.admin", "no token of admin.tokens has the role admin"},
		"there is nobody":           {nil, "operators.none", "admin.tokens names nobody"},
	} {
		found := ask(me, c.tokens...)
		if c.id != "" {
			wants(t, found, c.id, Warning, c.cause, "")
			continue
		}
		for _, f := range found {
			if f.Status != OK {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
	t.Run("from outside one's own is known", func(t *testing.T) {
		d := &doctor{Config: Config{Now: func() time.Time { return now }, Ask: answers(map[string]any{
			ath.AdminWhoAmIPath: api.WhoAmI{Name: "vera", Role: api.RoleViewer, Expires: "2026-12-01T00:00:00Z"},
		})}}
		f := &findings{subject: "operators"}
		d.operators(t.Context(), f)
		wants(t, f.all, "operators.expires", Warning, "the admin token of vera expires at 2026-12-01T00:00:00Z", "by the same name")
		if last := f.all[len(f.all)-1]; last.ID != "operators.token" || last.Found != "it is that of vera, with role viewer, until 2026-12-01T00:00:00Z" {
			t.Errorf("%+v", last)
		}
	})
}
