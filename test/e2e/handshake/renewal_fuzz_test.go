package handshake

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// standing gives the target a standing consent, for one of the two scopes that it is
// approved for.
func (t *target) standing(f *testing.F) ath.RenewalToken {
	f.Helper()
	if r := t.register("gallery", "pictures:write"); r.status != http.StatusCreated {
		f.Fatalf("%d %s", r.status, r.raw)
	}
	p := *t.w.config.Providers.Current().Get("gallery")
	p.Renewal = ath.RenewalTerms{Max: 90 * day, Idle: 30 * day}
	set, err := provider.NewSet(&p)
	if err != nil {
		f.Fatal(err)
	}
	t.w.config.Providers.Replace(set)
	now, token := t.w.now(), ath.NewToken(ath.NewTag())
	renewal := ath.NewRenewalToken(token.Tag())
	c := tokenstore.Connection{
		Agent: t.id, User: "user-1", Provider: "gallery", Access: ath.NewSecret("upstream-token"),
		Scopes: ath.Scopes{"pictures:read"}, Created: now, Destination: p.Destination(),
	}
	g := tokenstore.Grant{
		Agent: t.id, ClientID: t.clientID, User: "user-1", Provider: "gallery", Scopes: c.Scopes, Connection: token.Tag(),
		Issued: now, Expires: now.Add(time.Hour), Renewal: renewal.Digest(),
	}
	r := tokenstore.Renewal{
		Agent: g.Agent, ClientID: g.ClientID, User: g.User, Provider: g.Provider, ProviderAs: g.Provider, Scopes: g.Scopes, Connection: g.Connection,
		Terms: p.Renewal, Issued: now, Used: now,
	}
	if err := t.w.store.PutConnection(f.Context(), token.Tag(), c, g.Expires); err != nil {
		f.Fatal(err)
	}
	if err := t.w.store.PutRenewal(f.Context(), renewal, r, token, g); err != nil {
		f.Fatal(err)
	}
	return renewal
}

// FuzzRenewal: whatever is asked for, a renewal gives no more than the user has
// consented to, and nothing to who does not prove to be the agent.
//
// proves: T-8
func FuzzRenewal(f *testing.F) {
	target := newTarget(f, athflow.ConsentPage)
	renewal := target.standing(f).Secret().Reveal()
	const head = `"client_id":"{client}","client_secret":"{secret}","agent_attestation":"{exchange}","refresh_token":"{renewal}"`
	const form = `&client_id={client}&client_secret={secret}&agent_attestation={exchange}&refresh_token={renewal}`
	for _, seed := range []struct {
		form bool
		body string
	}{
		{false, `{"grant_type":"refresh_token",` + head + `}`},
		{false, `{"grant_type":"refresh_token",` + head + `,"scope":"pictures:read"}`},
		{false, `{"grant_type":"refresh_token",` + head + `,"scope":"pictures:read pictures:write"}`},
		{false, `{"grant_type":"refresh_token",` + head + `,"scopes":["pictures:read"]}`},
		{false, `{"grant_type":"refresh_token",` + head + `,"scope":" ","scopes":[]}`},
		{false, `{"grant_type":"refresh_token",` + head + `,"scopes":"pictures:write","code":[1]}`},
		{false, `{"grant_type":"refresh_token",` + head + `,"scopes":[null,1,"\u0000"]}`},
		{false, `{"grant_type":"refresh_token","refresh_token":"{renewal}","refresh_token":"x",` + head + `}`},
		{false, `{"grant_type":"authorization_code",` + head + `,"code":"{renewal}","ath_session_id":"{renewal}"}`},
		{false, `{"grant_type":["refresh_token"],` + head + `}`}, {false, `{"grant_type":"refresh_token","refresh_token":"{renewal}"}`},
		{true, `grant_type=refresh_token` + form}, {true, `grant_type=refresh_token` + form + `&scope=pictures%3Aread+pictures:write`},
		{true, `grant_type=refresh_token` + form + `&scopes=pictures:read&scope=`}, {true, `grant_type=refresh_token&grant_type=x` + form},
		{true, `grant_type=refresh_token` + form + `&refresh_token={renewal}`}, {true, `grant_type=%zz` + form}, {true, form},
	} {
		f.Add(seed.form, seed.body)
	}
	f.Fuzz(func(t *testing.T, form bool, body string) {
		target.w.t = t
		media := "application/json"
		if form {
			media = "application/x-www-form-urlencoded"
		}
		rec := target.ask("POST", "/ath/token", target.fill(strings.ReplaceAll(body, "{renewal}", renewal)), media, "")
		answered(t, rec, http.StatusServiceUnavailable)
		if rec.Code >= 300 {
			if strings.Contains(rec.Body.String(), "ath_tk_") || strings.Contains(rec.Body.String(), renewal) {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
			return
		}
		var reply struct {
			Scopes []string `json:"effective_scopes"`
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil || !slices.Equal(reply.Scopes, []string{"pictures:read"}) {
			t.Fatalf("%d %s, %v", rec.Code, rec.Body, err)
		}
		for _, proof := range []string{"{client}", "{secret}", "{exchange}", "{renewal}"} {
			if !strings.Contains(body, proof) {
				t.Fatalf("it was given without %s: %q", proof, body)
			}
		}
	})
}
