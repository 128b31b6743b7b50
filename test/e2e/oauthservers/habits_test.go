package oauthservers

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/oauthservers"
)

// The table server × habit: the handshake by the issuer alone, calls through
// Envoy, refresh, race, reuse, revocation and two agents of one user, at real
// servers.
//
// proves: M-1, P-5, P-6, T-9
func TestRealServers(t *testing.T) { compare(t, oauthservers.Names) }

// compare fills the table for some servers.
func compare(t *testing.T, names []string) {
	st, servers := start(t, names)
	tb := newTable(servers)
	t.Run("servers", func(t *testing.T) {
		for _, s := range servers {
			for name, habit := range map[string]func(*world){
				"server": itself, "refresh": refreshes, "race": races, "reuse": reuses, "revocation": revoked,
				"agents of one browser": agentsOfOneBrowser, "agents of two browsers": agentsOfTwoBrowsers,
				"end": ends,
			} {
				t.Run(s.Name+"/"+name, func(t *testing.T) {
					t.Parallel()
					habit(&world{t: t, stage: st, server: s.On(t), table: tb})
				})
			}
		}
	})
	tb.print(t)
	for _, s := range servers {
		sent := map[string]int{}
		for _, c := range s.Proxy.TokenCalls(s.Athd) {
			if sent[c.Refresh]++; c.Refresh != "" && sent[c.Refresh] == 2 && s.Rotates() {
				t.Errorf("athd has sent %s a refresh token twice", s.Name)
			}
		}
	}
}

// itself asks the server as another program does.
func itself(w *world) {
	s := w.server
	metadata := s.Metadata()
	w.says("metadata", s.MetadataPlace())
	_, iss := metadata["authorization_response_iss_parameter_supported"]
	w.says("iss on the callback", yes(iss))

	b := browser.New()
	defer b.Close()
	first := s.Grant(b, "alice")
	w.says("access token's life", life(first.Expires))
	if w.says("refresh token", yes(first.Refresh != "")); first.Refresh == "" {
		w.t.Fatal("there is no refresh token")
	}
	again := s.Refresh(first.Refresh)
	if again.Status != http.StatusOK {
		w.t.Fatalf("a refresh is answered %v", again)
	}
	w.says("a refresh rotates", yes(again.Refresh != "" && again.Refresh != first.Refresh))
	w.says("a refresh ends the old access token", yes(!s.Lives(first.Access)))
	w.says("garbage as refresh token", s.Refresh("garbage").String())

	reuse := s.Refresh(first.Refresh)
	w.says("a refresh token twice", reuse.String())
	w.says("… then the newer one", s.Refresh(again.Refresh).String())

	both := s.Grant(b, "alice")
	replies := together(2, func() oauthservers.Reply { return s.Refresh(both.Refresh) })
	won, on := 0, 0
	for _, r := range replies {
		if r.Status == http.StatusOK {
			won++
		}
	}
	for _, r := range replies {
		if r.Status == http.StatusOK && r.Refresh != "" && s.Refresh(r.Refresh).Status == http.StatusOK {
			on++
		}
	}
	w.says("two refreshes at once", fmt.Sprintf("%d of 2, %d can go on", won, on))

	if s.Endpoint("revocation_endpoint") == "" {
		w.says("a refresh token is revoked", "no endpoint")
		w.says("… then its access token", "-")
		w.says("… the user's grant of the same browser", "-")
		w.says("… of another browser", "-")
		return
	}
	fresh := browser.New()
	defer fresh.Close()
	mine, same := s.Grant(fresh, "bob"), s.Grant(fresh, "bob")
	elsewhere := browser.New()
	defer elsewhere.Close()
	other := s.Grant(elsewhere, "bob")
	w.says("a refresh token is revoked", s.Revoke(mine.Refresh, "refresh_token").String())
	w.says("… then its access token", alive(s.Lives(mine.Access)))
	w.says("… the user's grant of the same browser", alive(s.Refresh(same.Refresh).Status == http.StatusOK))
	w.says("… of another browser", alive(s.Refresh(other.Refresh).Status == http.StatusOK))
}

// life is an access token's in seconds. Some servers tell what is left of it when
// they answer, in whole seconds: how much is gone by then is not their habit, but
// the machine's.
func life(expiresIn int) string {
	const minute = 60
	return fmt.Sprint((expiresIn + minute - 1) / minute * minute)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func alive(b bool) string {
	if b {
		return "lives"
	}
	return "dead"
}

// together calls f so many times at once.
func together[T any](n int, f func() T) []T {
	all := make([]T, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i] = f() })
	}
	wg.Wait()
	return all
}

// refreshes: the handshake by the issuer alone, and calls that outlive the user's
// access token.
func refreshes(w *world) {
	b := browser.New()
	defer b.Close()
	a := w.agent(b, "long", "alice")
	w.says("athd: handshake by the issuer alone", "yes")
	if left := time.Until(a.token.Expires); left < 59*time.Minute {
		w.t.Errorf("T-9: the ATH token ends in %v, though its user's token can be refreshed", left)
	}
	w.says("athd: calls outlive the access token", yes(w.outlives(a, 2)))
}

// races: many calls at once when the user's token is dead make one call to the
// server, and all of them pass.
func races(w *world) {
	b := browser.New()
	defer b.Close()
	a := w.agent(b, "busy", "bob")
	old, refresh, release := w.standsStill(a)
	defer release()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := w.call(a)
		if got.underWay() {
			break // the old token is dead, and its successor under way
		}
		if got.busy() && time.Now().Before(end) {
			continue
		}
		if got.status != http.StatusOK || got.user != old || time.Now().After(end) {
			w.t.Fatalf("while the refresh is under way: %+v", got)
		}
	}
	done := make(chan []answer)
	go func() { done <- together(16, func() answer { return w.call(a) }) }()
	release()
	for _, got := range <-done {
		if got.status != http.StatusOK && !got.underWay() && !got.busy() {
			w.t.Errorf("a call at the end of the token is answered %+v", got)
		}
	}
	w.passes(a)
	w.says("athd: refreshes for 17 calls at once", fmt.Sprint(w.sentTimes(refresh)))
}

// reuses: somebody else uses the refresh token that athd has spent last. Servers
// take the last one for an honest mistake that they take no older one for: so athd
// spends no other until the thief was there.
func reuses(w *world) {
	b := browser.New()
	defer b.Close()
	a := w.agent(b, "robbed", "carol")
	if !w.outlives(a, 1) {
		w.t.Fatal("the grant is gone")
	}
	user, _, release := w.standsStill(a)
	defer release()
	spent := w.callFor(user).Refresh
	if spent == "" {
		w.t.Fatal("athd has spent no refresh token")
	}
	w.server.RefreshAs(w.server.Athd, spent)
	release()
	w.says("athd: after a theft of a spent refresh token", afterwards(w.outlives(a, 1)))
}

// revoked: the user ends the grant at the server.
func revoked(w *world) {
	if w.server.Endpoint("revocation_endpoint") == "" {
		w.says("athd: after the end at the server", "-")
		return
	}
	b := browser.New()
	defer b.Close()
	a := w.agent(b, "ended", "dave")
	_, refresh, release := w.standsStill(a) // some servers revoke nothing by a token that is spent
	defer release()
	w.server.RevokeAs(w.server.Athd, refresh, "refresh_token")
	release()
	w.says("athd: after the end at the server", afterwards(w.outlives(a, 1)))
}

func afterwards(lives bool) string {
	if lives {
		return "calls go on"
	}
	return "asks for a new consent"
}

// agentsOfOneBrowser: two agents of one user, who agreed to both in one browser.
func agentsOfOneBrowser(w *world) {
	b := browser.New()
	defer b.Close()
	one, two := w.agent(b, "first", "erin"), w.agent(b, "second", "erin")
	w.says("athd: knows that it is one user", yes(w.connection(one).User == w.connection(two).User))
	w.says("athd: two agents of one browser", afterwards(w.outlives(one, 1))+", "+afterwards(w.outlives(two, 1)))
}

func agentsOfTwoBrowsers(w *world) {
	b, c := browser.New(), browser.New()
	defer b.Close()
	defer c.Close()
	one, two := w.agent(b, "here", "frank"), w.agent(c, "there", "frank")
	w.says("athd: two agents of two browsers", afterwards(w.outlives(one, 1))+", "+afterwards(w.outlives(two, 1)))
}

// ends: two agents of one user, who agreed to both in one browser, give their
// tokens back, one after the other. At some servers the end of the first grant
// would be that of the second, too.
//
// proves: V-5
func ends(w *world) {
	b := browser.New()
	defer b.Close()
	one := w.agent(b, "leaves", "gina")
	grants := []string{w.refreshOf(w.passes(one))} // the next consent is its end at some servers
	two := w.agent(b, "stays", "gina")
	grants = append(grants, w.refreshOf(w.passes(two)))
	if err := one.Revoke(w.t.Context(), one.token.Access); err != nil {
		w.t.Fatal(err)
	}
	goesOn := w.outlives(two, 1)
	w.says("athd: one of two agents is ended, the other", afterwards(goesOn))
	if n := w.revoked(grants); n != 0 {
		w.t.Errorf("with another connection of the user alive, %d grants were revoked", n)
	}
	if err := two.Revoke(w.t.Context(), two.token.Access); err != nil {
		w.t.Fatal(err)
	}
	want := known[w.server.Name]["athd: grants revoked with the last agent"]
	for end := time.Now().Add(patience); want != "0" && fmt.Sprint(w.revoked(grants)) != want && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	w.says("athd: grants revoked with the last agent", fmt.Sprint(w.revoked(grants)))
}

// revoked counts the grants, each by a refresh token that it had, of which athd
// has revoked the newest refresh token.
func (w *world) revoked(grants []string) (n int) {
	w.t.Helper()
	for _, newest := range grants {
		for _, c := range w.server.Proxy.TokenCalls(w.server.Athd) { // oldest first
			if c.Refresh == newest && c.Got.Refresh != "" {
				newest = c.Got.Refresh
			}
		}
		for _, form := range w.server.Proxy.Revocations(w.server.Athd) {
			if form.Get("token") != newest {
				continue
			}
			if n++; form.Get("token_type_hint") != "refresh_token" {
				w.t.Errorf("a refresh token is revoked as %q", form.Get("token_type_hint"))
			}
		}
	}
	return n
}
