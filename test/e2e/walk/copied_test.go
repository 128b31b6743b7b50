package walk

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// Somebody who can write to Redis copies records over others': neither calls nor
// the handshake go by them, and event and metric say which record it was.
//
// proves: T-3
func TestCopiedRecordsAreRefusedAndAudited(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native"})
	raw := s.Redis.Client()
	type party struct {
		name    string
		agent   *client.Client
		token   client.Token
		tag     ath.Tag
		digest  ath.Digest
		session *client.Authorization
		code    ath.Secret
	}
	var all []party
	for _, name := range []string{"one", "two"} {
		p := party{name: name, agent: s.NewAgent(name)}
		p.token = s.Token(p.agent, stage.App, "products:read")
		parsed, err := ath.ParseToken(p.token.Access.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		p.tag, p.digest = parsed.Tag(), parsed.Digest()
		p.session, p.code = s.Code(p.agent, stage.App, "products:read")
		all = append(all, p)
	}
	mine, others := all[0], all[1]
	of := func(tag ath.Tag, rest string) string { return "ath:{" + string(tag) + "}:" + rest }
	session := func(p party) string {
		id, err := ath.ParseSessionID(p.session.Session.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		return of(id.Tag(), "session")
	}
	agent := func(p party) string { return of(ath.AgentTag(s.Agents+"/"+p.name+".json"), "agent") }
	call := func() (int, string) {
		r := s.Call(mine.agent, mine.token, "GET", "/api/products")
		return r.Status, string(r.Reply)
	}
	refused := func(err error) (int, string) {
		e, ok := errors.AsType[*client.Error](err)
		if !ok {
			t.Fatalf("the handshake answers %v", err)
		}
		return e.Status, fmt.Sprint(e)
	}
	for _, tt := range []struct {
		kind, key, by, at string
		use               func() (int, string)
	}{
		{"conn", of(mine.tag, "conn"), of(others.tag, "conn"), of(mine.tag, "conn"), call},
		{"grant", of(mine.tag, "grant:"+mine.digest.String()), of(others.tag, "grant:"+others.digest.String()), of(mine.tag, "grant"), call},
		{"agent", agent(mine), agent(others), agent(mine), call},
		{"agent", agent(mine), agent(others), agent(mine), func() (int, string) {
			_, err := mine.agent.Authorize(t.Context(), client.Consent{Provider: stage.App, Scopes: []string{"products:read"}})
			return refused(err)
		}},
		{"session", session(mine), session(others), session(mine), func() (int, string) {
			_, err := mine.agent.Exchange(t.Context(), mine.session, mine.code)
			return refused(err)
		}},
	} {
		good, err := raw.Get(t.Context(), tt.key).Result()
		if err != nil {
			t.Fatal(err)
		}
		bad, err := raw.Get(t.Context(), tt.by).Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Set(t.Context(), tt.key, bad, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if status, body := tt.use(); status != http.StatusInternalServerError || strings.Contains(body, "ath:{") || !strings.Contains(body, string(ath.InternalError)) {
			t.Errorf("%s of another agent: %d %s", tt.kind, status, body)
		}
		if err := raw.Set(t.Context(), tt.key, good, 0).Err(); err != nil {
			t.Fatal(err)
		}
		named := func() bool { return strings.Contains(s.Athd.Logs(), `"record":"`+tt.at+`"`) }
		for end := time.Now().Add(patience); !named() && time.Now().Before(end); { // events of calls are written behind the reply
			time.Sleep(5 * time.Millisecond)
		}
		if !named() {
			t.Errorf("no event names the record %s", tt.at)
		}
		_, metrics := s.Athd.Get("/metrics")
		if !regexp.MustCompile(`athd_records_unreadable_total\{record="` + tt.kind + `"\} [1-9]`).MatchString(metrics) {
			t.Errorf("the metric does not count %s", tt.kind)
		}
	}
	if status, body := call(); status != http.StatusOK {
		t.Errorf("with the records put back: %d %s", status, body)
	}
	if text := s.Athd.Logs(); !strings.Contains(text, `"event":"record_unreadable"`) || !strings.Contains(text, `"denial_reason":"record_corrupt"`) {
		t.Error("the events are not there")
	}
}
