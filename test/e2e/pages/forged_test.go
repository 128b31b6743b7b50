package pages

import (
	"net/url"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// Callbacks that somebody made up or carried over from elsewhere.
func TestForgedCallbacks(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{})
	redemptions := func() int { return s.OAuth.Stats().CodeRedemptions }

	t.Run("Z-3: login CSRF: an attacker's finished login does nothing in the victim's browser", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		attacker, victim := newBrowser(t), newBrowser(t)
		attacker.allow(l)
		callback := providerAnswers(t, s, attacker.where().String(), stage.Stranger, stage.StrangerPassword)

		// The victim has a session of their own under way, and opens a link to
		// the attacker's callback from the attacker's page.
		own := a.authorize(stage.App, "products:read")
		victim.allow(own)
		lure := newSite(t, `<script>location = "`+callback.String()+`"</script>`)
		before := redemptions()
		victim.open(lure.at(evilHost))
		victim.refused("STATE_MISMATCH")
		if redemptions() != before {
			t.Error("the attacker's code was redeemed")
		}
		victim.allow(own)
		if refusal := a.redeem(own, victim.finish()); refusal != "" {
			t.Errorf("the victim's own session ends with %s", refusal)
		}
	})

	t.Run("C-2: mix-up: another server's answer is refused before the code is redeemed", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.allow(l)
		callback := providerAnswers(t, s, b.where().String(), stage.User, stage.Password)
		before := redemptions()
		for name, iss := range map[string][]string{
			"another":            {"https://evil.test"},
			"a slash more":       {s.Issuer + "/"},
			"none":               {""},
			"two, one is ours":   {s.Issuer, "https://evil.test"},
			"ours in upper case": {"HTTP://127.0.0.1" + callback.Query().Get("iss")[len("http://127.0.0.1"):]},
		} {
			q := callback.Query()
			q["iss"] = iss
			t.Run(name, func(t *testing.T) {
				b := b.another(t)
				b.open(s.Public + "/ath/callback?" + q.Encode())
				b.refused("STATE_MISMATCH")
			})
		}
		if redemptions() != before {
			t.Error("a code was redeemed all the same")
		}
		b.open(callback.String())
		b.await("#code")
	})

	t.Run("C-3: code injection: a code of another session or user is not redeemed for this one", func(t *testing.T) {
		for name, user := range map[string][2]string{
			"the same user's": {stage.User, stage.Password},
			"another user's":  {stage.Stranger, stage.StrangerPassword},
		} {
			t.Run(name, func(t *testing.T) {
				a := newAgent(t, s)
				l, other := a.authorize(stage.App, "products:read"), a.authorize(stage.App, "products:read")
				stolen := providerAnswers(t, s, other.provider, user[0], user[1])
				b := newBrowser(t)
				b.allow(l)
				q := providerAnswers(t, s, b.where().String(), stage.User, stage.Password).Query()
				q.Set("code", stolen.Query().Get("code"))
				before := redemptions()
				b.open(s.Public + "/ath/callback?" + q.Encode())
				b.refused("OAUTH_ERROR")
				if redemptions() != before {
					t.Error("the provider gave tokens for the injected code")
				}
				if refusal := a.redeem(l, "ath_code_guess"); refusal != "OAUTH_ERROR" {
					t.Errorf("the token call says %q, want OAUTH_ERROR", refusal)
				}
			})
		}
	})

	t.Run("C-1: a made-up, doubled or missing parameter ends nothing", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.allow(l)
		callback := providerAnswers(t, s, b.where().String(), stage.User, stage.Password)
		good := callback.Query()
		for name, c := range map[string]struct {
			change func(url.Values)
			code   string
		}{
			"no state":          {func(q url.Values) { q.Del("state") }, "STATE_MISMATCH"},
			"an unknown state":  {func(q url.Values) { q.Set("state", "ath_state_unknown") }, "STATE_MISMATCH"},
			"a state cut short": {func(q url.Values) { q.Set("state", good.Get("state")[:40]) }, "STATE_MISMATCH"},
			"two states":        {func(q url.Values) { q.Add("state", good.Get("state")) }, "STATE_MISMATCH"},
			"no code":           {func(q url.Values) { q.Del("code") }, "INVALID_REQUEST"},
			"two codes":         {func(q url.Values) { q.Add("code", "other") }, "INVALID_REQUEST"},
		} {
			t.Run(name, func(t *testing.T) {
				q := callback.Query()
				c.change(q)
				b := b.another(t)
				b.open(s.Public + "/ath/callback?" + q.Encode())
				b.refused(c.code)
			})
		}
		b.open(callback.String())
		b.await("#code")
	})
}
