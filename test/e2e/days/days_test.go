package days

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// processes are those of one agent, which share its renewal.
const processes = 3

// Several processes of an agent work for 90 days on one consent, with weekends and 20
// days of silence twice, while the OAuth server ends refresh tokens that are unused
// for 7, or come twice. On each day, and each eighth hour of a shorter time,
// somebody ends the access of another agent, which has stood until then.
//
// proves: T-8, V-6
func TestDaysOnOneConsent(t *testing.T) {
	s := scaled(t)
	f := newFleet(t, s)
	every, ends := s.day(), s.days-1
	if s.days == 1 {
		every, ends = 8*s.hour, 2
	}
	ways := waysToEnd()
	var others []*agent
	for i := range ends {
		others = append(others, f.agent(fmt.Sprintf("other-%d", i), fmt.Sprintf("user-%d", i)))
	}
	worker := f.agent("worker", "alice")
	began := time.Now()
	var running []func() account
	for n := range processes {
		running = append(running, worker.start(n, began))
	}
	for i, a := range others {
		time.Sleep(time.Until(began.Add(time.Duration(i+1) * every)))
		for j := i + 1; j < len(others); j++ { // the agents must come back within 30 days
			if (i+j)%20 == 0 {
				if err := others[j].call(); err != nil {
					t.Errorf("day %d: the agent that ends on day %d: %v", i+1, j+1, err)
				}
			}
		}
		way := ways[i%len(ways)]
		if err := a.call(); err != nil {
			t.Errorf("day %d: before its end: %v", i+1, err)
			continue
		}
		way.end(a)
		for range 4 { // whichever athd is asked
			if err := a.call(); err == nil {
				t.Errorf("day %d: after the end by %s a call passes", i+1, way.who)
			}
		}
	}
	var total account
	for n, end := range running {
		a := end()
		t.Logf("process %d: %+v", n, a)
		total.Calls += a.Calls
		total.Failed += a.Failed
		total.Renewals += a.Renewals
		total.AfterRests += a.AfterRests
	}
	grants, refused := 0, 0
	for _, c := range f.oauth.Proxy.TokenCalls(f.oauth.Athd) {
		switch {
		case c.Grant == "authorization_code":
			grants++
		case c.Status != http.StatusOK:
			refused++
		}
	}
	ended := 0 // those whose user ended them there may have been refreshed in vain
	for i := range others {
		if ways[i%len(ways)].who == theUser {
			ended++
		}
	}
	if total.Failed != 0 || total.Renewals == 0 || grants != ends+1 || refused > ended || s.days >= 79 && total.AfterRests != 2*processes {
		t.Errorf("%+v; %d log-ins of %d agents; %d refreshes refused, %d grants were ended there", total, grants, ends+1, refused, ended)
	}
	t.Logf("%d days of 24 hours of %v: %d calls of %d processes, %d renewals, %d came after 20 days, 1 consent; %d other agents were ended", s.days, s.hour, total.Calls, processes, total.Renewals, total.AfterRests, ends)
	if s.days < 90 {
		return
	}
	time.Sleep(time.Until(began.Add(90*s.day() + s.hour)))
	if err := worker.access.Renew(t.Context()); client.CodeOf(err) != ath.TokenExpired {
		t.Errorf("after 90 days: %v", err)
	}
}

// A way is one in which access ends.
type way struct {
	who string
	end func(*agent)
}

const theUser = "the user, at the provider"

func waysToEnd() []way {
	return []way{
		{"the agent, by its renewal", func(a *agent) { a.revoke(a.token.Renewal) }},
		{"an operator, by the connection", func(a *agent) {
			token, err := ath.ParseToken(a.token.Access.Reveal())
			if err != nil {
				a.f.t.Fatal(err)
			}
			a.f.operate(ath.AdminConnectionsPath+"/"+ath.NewConnectionID(token.Tag()).String()+"/end", struct{}{})
		}},
		{theUser, func(a *agent) {
			var refresh string
			for _, c := range a.f.oauth.Proxy.TokenCalls(a.f.oauth.Athd) {
				if c.Got.ID != "" && subject(c.Got.ID) == a.user {
					refresh = c.Got.Refresh
				}
			}
			if r := a.f.oauth.RevokeAs(a.f.oauth.Athd, refresh, "refresh_token"); r.Status != http.StatusOK {
				a.f.t.Fatalf("the OAuth server: %v", r)
			}
		}},
		{"an operator suspends the agent", func(a *agent) {
			a.f.operate(ath.AdminAgentsPath+"/"+a.c.Credentials().ClientID+"/suspend", struct{}{})
		}},
		{"an operator, by the user", func(a *agent) { a.f.operate(ath.AdminUserEndPath, api.UserEndRequest{User: a.user}) }},
		{"the agent, by its token", func(a *agent) { a.revoke(a.access.Token().Access) }},
	}
}

func (a *agent) revoke(token ath.Secret) {
	if err := a.c.Revoke(a.f.t.Context(), token); err != nil {
		a.f.t.Fatal(err)
	}
}

func (f *fleet) operate(path string, body any) {
	f.t.Helper()
	if err := stage.Done(f.Operate(0, http.MethodPost, path, body)); err != nil {
		f.t.Fatal(err)
	}
}
