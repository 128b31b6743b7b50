package handshake

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

var decisionID = regexp.MustCompile(`dec_[\w-]+`)

// said is what a refusal says, but for its decision_id: all that a client can
// learn from it.
func (w *world) said(r reply) string {
	w.t.Helper()
	shown := maps.Clone(r.json)
	details := maps.Clone(r.details())
	delete(details, "decision_id")
	delete(details, "tries_left") // which falls with each try
	shown["details"], shown["status"] = details, r.status
	shown["challenge"] = r.header.Get("WWW-Authenticate")
	text, err := json.Marshal(shown)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func TestRefusalsTellNothingMore(t *testing.T) {
	w := newWorld(t)
	a, other := w.actor("a"), w.actor("other")
	a.register("gallery", "pictures:read")
	other.register("gallery", "pictures:read")
	token, others := a.token("gallery", "pictures:read").text("access_token"), other.token("gallery", "pictures:read").text("access_token")
	link, waiting := a.authorize("gallery", []string{"pictures:read"})
	code := athCode.FindString(w.consent(w.newBrowser(), link).Body)
	_, unfinished := a.authorize("gallery", []string{"pictures:read"})
	id, err := ath.ParseAgentID(w.sites+"/nobody.json", true)
	if err != nil {
		t.Fatal(err)
	}
	nobody := ath.NewClientID(id).String()
	almost := func(s string) string {
		if strings.HasSuffix(s, "A") {
			return s[:len(s)-1] + "B"
		}
		return s[:len(s)-1] + "A"
	}
	exchange := func(change ...any) reply { return w.post("/ath/token", a.exchange(waiting, code).with(change...)) }
	revoke := func(change ...any) reply {
		return w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": token}.with(change...))
	}
	for _, c := range []struct {
		name    string
		replies []reply
	}{
		{"E-3: how close a secret was", []reply{
			exchange("client_secret", "x"), exchange("client_secret", almost(a.secret)), exchange("client_secret", other.secret),
			revoke("client_secret", almost(a.secret)), revoke("client_secret", "ath_secret_x"),
		}},
		{"E-3: whether an agent is registered under a client_id like this", []reply{
			exchange("client_id", "ath_x"), exchange("client_id", nobody), exchange("client_id", almost(a.clientID)),
			revoke("client_id", nobody), w.post("/ath/authorize", a.authorization("gallery", "pictures:read").with("client_id", almost(a.clientID))),
		}},
		{"E-3: whether a session exists", []reply{
			exchange("ath_session_id", "x"), exchange("ath_session_id", ath.NewSessionID().Secret().Reveal()),
			exchange("ath_session_id", almost(waiting)), exchange("ath_session_id", almost(unfinished)),
		}},
		// Of its own session an agent that has proved itself hears that the code
		// is wrong (F-34), but not how close it was.
		{"E-3: how close a code was", []reply{
			exchange("code", "x"), exchange("code", almost(code)),
		}},
		{"E-3: whether a state exists", []reply{
			w.get("/ath/callback?code=x&state=x"), w.get("/ath/callback?code=x&state=" + ath.NewState(ath.NewTag()).Secret().Reveal()),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.replies[0].json == nil { // a page: its decision_id is all that differs
				for i, r := range c.replies {
					c.replies[i].json = map[string]any{"page": strings.ReplaceAll(r.raw, decisionID.FindString(r.raw), "")}
				}
			}
			first := w.said(c.replies[0])
			for i, r := range c.replies[1:] {
				if got := w.said(r); got != first {
					t.Errorf("%d:\n%s\nthe first:\n%s", i+1, got, first)
				}
			}
		})
	}
	t.Run("E-3: a token that was revoked, and one that never was", func(t *testing.T) {
		first := revoke("token", ath.NewToken(ath.NewTag()).Secret().Reveal())
		for _, r := range []reply{revoke("token", "x"), revoke("token", almost(token)), revoke("token", almost(others)), revoke(), revoke()} {
			if r.status != first.status || r.raw != first.raw {
				t.Errorf("%d %s, want %d %s", r.status, r.raw, first.status, first.raw)
			}
		}
	})
	t.Run("E-3: nothing that was sent comes back", func(t *testing.T) {
		const mark = "ath_secret_marked"
		for _, r := range []reply{
			exchange("client_secret", mark), exchange("code", mark), exchange("ath_session_id", mark), exchange("client_id", mark), revoke("token", mark),
			w.post("/ath/authorize", a.authorization(mark, mark).with("resource", mark)),
			w.post("/ath/token", `{"`+mark+`":`), w.get("/ath/callback?state=" + mark + "&error_description=" + mark),
		} {
			if strings.Contains(r.raw, mark) {
				t.Errorf("%d %s", r.status, r.raw)
			}
		}
	})
}
