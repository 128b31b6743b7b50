package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// An agent works for 90 days on one consent: hourly on weekdays, not at weekends, and
// twice it is silent for 20 days, while the provider ends a refresh token that is
// unused for 7. On each day somebody ends the access of another agent, which has
// stood until then, and it is dead at the next decision. On day 90 it is over.
//
// proves: T-8, V-6
func TestNinetyDaysOnOneConsent(t *testing.T) {
	real := time.Now()
	d := newDays(t, 7*day, "{max: 90d, idle: 30d}")
	ways := waysToEnd()
	agent, forgotten := d.newWorker("agent", "alice"), d.newWorker("forgotten", "bob")
	agent.login()
	forgotten.login()
	var others [90]*worker // by the day that they end on
	for i := 1; i < len(others); i++ {
		others[i] = d.newWorker(fmt.Sprintf("other-%d", i), fmt.Sprintf("user-%d", i))
		others[i].login()
	}
	calls, atForgotten := 0, 0
	for hour, step := 0, 1; hour+step < 90*24; step = next(hour) {
		d.pass(time.Duration(step) * time.Hour)
		hour += step
		today := hour / 24
		if works(today, hour%24) {
			calls++
			if a := agent.work(); a.status != http.StatusOK {
				t.Fatalf("day %d, hour %d: %d %s %s", today, hour%24, a.status, a.code, a.cause)
			}
		}
		if hour%24 != 0 {
			continue
		}
		for i := today; i < len(others); i++ {
			if i != today && (today+i)%20 != 0 { // they come back within 30 days
				continue
			}
			if a := others[i].work(); a.status != http.StatusOK {
				t.Errorf("day %d: the agent that ends on day %d: %d %s %s", today, i, a.status, a.code, a.cause)
			}
		}
		way := ways[today%len(ways)]
		way.end(others[today])
		if a := others[today].call(); a.status == http.StatusOK || way.code != "" && a.code != way.code {
			t.Errorf("day %d, %s: the next call: %d %s", today, way.who, a.status, a.code)
		}
		if before := others[today-1]; before != nil { // an hour is over long since
			if a := before.renew(); a.status < 400 || a.status >= 500 {
				t.Errorf("day %d, %s: a renewal on the day after", today-1, ways[(today-1)%len(ways)].who)
			}
		}
		switch today {
		case 30: // at the hour that it was last used, as the consent page said
			if a := forgotten.renew(); a.status != http.StatusUnauthorized || a.code != string(ath.TokenExpired) {
				t.Errorf("an agent that was silent for 30 days: %d %s %s", a.status, a.code, a.cause)
			}
			atForgotten = d.provider.of("bob")[0].refreshes
		case 60:
			if n := d.provider.of("bob")[0].refreshes; n != atForgotten {
				t.Errorf("the refresh token of an agent that may not come back was used %d times more", n-atForgotten)
			}
		}
	}
	d.pass(d.began.Add(90*day - time.Hour).Sub(d.now()))
	if a := agent.renew(); a.status != http.StatusOK {
		t.Errorf("an hour before the end: %d %s %s", a.status, a.code, a.cause)
	}
	d.pass(time.Hour)
	if a := agent.renew(); a.status != http.StatusUnauthorized || a.code != string(ath.TokenExpired) {
		t.Errorf("after 90 days: %d %s %s", a.status, a.code, a.cause)
	}
	if a := agent.call(); a.status != http.StatusUnauthorized {
		t.Errorf("after 90 days, a call: %d %s", a.status, a.code)
	}
	d.provider.mu.Lock()
	reused, expired := d.provider.reused, d.provider.expired
	d.provider.mu.Unlock()
	at := d.provider.of("alice")
	if agent.logins != 1 || len(at) != 1 || reused != 0 || expired != 0 || atForgotten < 30/7 {
		t.Errorf("%d log-ins, %d grants; %d refresh tokens came twice and %d too late; %d refreshes for who is silent", agent.logins, len(at), reused, expired, atForgotten)
	}
	t.Logf("90 days in %v: 1 consent, %d calls, %d renewals, %d refreshes at the provider", time.Since(real).Round(time.Millisecond), calls, agent.renewals, at[0].refreshes)
}

// works says when the agent does: the days begin on a Monday at nine.
func works(today, hour int) bool {
	weekend := today%7 >= 5
	silent := today >= 20 && today < 40 || today >= 55 && today < 75
	return !weekend && !silent && hour < 9
}

// next is how many hours pass at once: one where the agent works, else a third of the
// day.
func next(hour int) int {
	if works(hour/24, 0) && hour%24 < 8 {
		return 1
	}
	return 8 - hour%8
}

// A way is one in which access ends.
type way struct {
	who  string
	code string // of the next call; "": whatever refuses
	end  func(*worker)
}

func waysToEnd() []way {
	const operators = ath.AdminPath
	return []way{
		{"the agent revokes its renewal", string(ath.TokenRevoked), func(w *worker) { w.revoke(w.renewal) }},
		{"the agent revokes its token", string(ath.TokenRevoked), func(w *worker) { w.revoke(w.token) }},
		{"the user, at the provider", "the API's own", func(w *worker) { w.d.provider.end(w.user) }},
		{"an operator ends the connection", string(ath.TokenRevoked), func(w *worker) {
			token, err := ath.ParseToken(w.token)
			if err != nil {
				w.d.t.Fatal(err)
			}
			w.d.operate(operators+"connections/"+ath.NewConnectionID(token.Tag()).String()+"/end", struct{}{})
		}},
		{"an operator ends the user", string(ath.TokenRevoked), func(w *worker) { w.d.operate(ath.AdminUserEndPath, api.UserEndRequest{User: w.user}) }},
		{"an operator suspends the agent", "", func(w *worker) {
			w.d.operate(operators+"agents/"+w.c.Credentials().ClientID+"/suspend", struct{}{})
		}},
		{"an operator revokes the renewal", string(ath.TokenRevoked), func(w *worker) {
			w.d.operate(ath.RevokePath, api.RevokeRequest{Token: api.OpenSecret(ath.NewSecret(w.renewal))})
		}},
	}
}

func (w *worker) revoke(token string) {
	w.d.t.Helper()
	own := w.c.Credentials()
	a := w.d.post(ath.RevokePath, api.RevokeRequest{ClientID: own.ClientID, ClientSecret: api.OpenSecret(own.Secret), Token: api.OpenSecret(ath.NewSecret(token))}, nil)
	if a.status != http.StatusOK {
		w.d.t.Fatalf("the agent's revocation: %d %s", a.status, a.code)
	}
}
