package vault_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

func (r *replica) rejected(w *world, c call, token ath.Secret) vault.Rejection {
	return r.vault.Rejected(context.Background(), w.provider, c.ref, ath.FingerprintOf(token))
}

// outcomes is what 401s to one token come to at all athd at once.
func (w *world) outcomes(n int, c call, token ath.Secret) map[vault.Rejection]int {
	var mu sync.Mutex
	out := map[vault.Rejection]int{}
	var all sync.WaitGroup
	for _, r := range w.replicas {
		for range n {
			all.Go(func() {
				got := r.rejected(w, c, token)
				mu.Lock()
				defer mu.Unlock()
				out[got]++
			})
		}
	}
	all.Wait()
	return out
}

// proves: P-6
func TestARejectedTokenIsRefreshedOnceForAllWhoReportIt(t *testing.T) {
	w := newWorld(t, 8, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	w.endpoint.Answers(func(int, http.ResponseWriter, *http.Request) bool { time.Sleep(200 * time.Millisecond); return false })
	c := w.connect(time.Hour) // nobody else would refresh it now
	if got := w.outcomes(25, c, c.first.Access); got[vault.RejectedRenewed] != 200 {
		t.Errorf("%v", got)
	}
	if n := w.endpoint.Calls(); n != 1 || !w.renewed(c) {
		t.Errorf("%d calls, refreshed: %v", n, w.renewed(c))
	}
	t.Run("who reports the token of before learns that there is a newer one", func(t *testing.T) {
		for _, r := range w.replicas {
			r.later(time.Hour)
		}
		if got := w.outcomes(5, c, c.first.Access); got[vault.RejectedRenewed] != 40 || w.endpoint.Calls() != 1 {
			t.Errorf("%v after %d calls", got, w.endpoint.Calls())
		}
	})
	events := func() (n int) {
		for _, r := range w.replicas {
			n += strings.Count(r.events.String(), `"denial_reason":"rejected_by_api"`)
		}
		return n
	}
	until(t, "an event of the forced refresh", 5*time.Second, func() bool { return events() > 0 }) // nobody waits for the log
	if n := events(); n != 1 {
		t.Errorf("%d events of a forced refresh", n)
	}
}

// An API that rejects each new token, or an agent that finds something which answers
// 401, costs the provider one call a minute, and the user nothing.
// proves: P-6
func TestAnAPIThatRejectsEveryTokenCostsOneRefreshAMinute(t *testing.T) {
	w := newWorld(t, 2, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	c := w.connect(time.Hour)
	for minute := range 3 {
		for range 20 {
			for _, r := range w.replicas {
				r.rejected(w, c, w.stored(c).Access)
			}
		}
		if n := w.endpoint.Calls(); n != minute+1 {
			t.Fatalf("minute %d: %d calls", minute, n)
		}
		for _, r := range w.replicas {
			r.later(rejectedEvery + time.Second)
		}
	}
	if got := w.stored(c); !got.RefreshStatus.Refused.IsZero() || got.Ended || !w.endpoint.Alive(got.Refresh.Reveal()) {
		t.Errorf("the grant is lost: %+v", got.RefreshStatus)
	}
	if d := w.replicas[1].ask(c); !d.Allowed() {
		t.Error(d.Reason())
	}
}

const rejectedEvery = time.Minute

// The pause outlives the athd that made the call.
// proves: P-6
func TestThePauseBetweenForcedRefreshesSurvivesARestart(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	c := w.connect(time.Hour)
	w.endpoint.Answers(says(500, `no`))
	if got := w.replicas[0].rejected(w, c, c.first.Access); got != vault.RejectedProvider {
		t.Error(got)
	}
	again := w.start()
	w.endpoint.Answers(nil)
	for range 5 {
		if got := again.rejected(w, c, c.first.Access); got != vault.RejectedProvider || w.endpoint.Calls() != 1 {
			t.Errorf("%v after %d calls", got, w.endpoint.Calls())
		}
	}
	if got := w.stored(c); !got.RefreshStatus.Refused.IsZero() || !got.Access.Equal(c.first.Access.Reveal()) {
		t.Error("a provider that is away has changed the connection")
	}
}

// Only the token endpoint ends a grant; where it does, the API has rejected the access
// token already, so that the next decision says what the user must do.
//
// proves: P-6
func TestARefusedRefreshOfARejectedTokenAsksTheUser(t *testing.T) {
	w := newWorld(t, 2, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	c := w.connect(time.Hour, func(c *tokenstore.Connection) { c.Expires = time.Time{} })
	w.endpoint.Answers(says(400, `{"error":"invalid_grant"}`))
	if got := w.replicas[0].rejected(w, c, c.first.Access); got != vault.RejectedRefused {
		t.Error(got)
	}
	if got := w.replicas[1].rejected(w, c, c.first.Access); got != vault.RejectedRefused || w.endpoint.Calls() != 1 {
		t.Errorf("%v after %d calls", got, w.endpoint.Calls())
	}
	if d := w.replicas[1].ask(c); d.Reason() != authz.ReauthorizationRequired {
		t.Error(d.Reason())
	}
	if got := w.stored(c); got.RefreshStatus.RefusedFor != "invalid_grant" {
		t.Errorf("%+v", got.RefreshStatus)
	}
}

// Whose refresh is refused ahead of time uses the access token until its end: no API
// has rejected it.
//
// proves: P-6
func TestARefusedRefreshOfATokenThatNobodyRejectedLeavesIt(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	c := w.connect(time.Hour)
	w.endpoint.Answers(says(400, `{"error":"invalid_grant"}`))
	w.replicas[0].askFor(w, c)
	if d := w.replicas[0].ask(c); !d.Allowed() {
		t.Error(d.Reason())
	}
}

// userinfo is a provider's endpoint that judges tokens.
type userinfo struct {
	*httptest.Server
	calls  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newUserinfo(t *testing.T) *userinfo {
	u := &userinfo{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.calls.Add(1)
		(*u.answer.Load())(w, r)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *userinfo) answers(status int, challenge string) {
	f := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer access-first-") {
			status = http.StatusTeapot
		}
		if challenge != "" {
			w.Header().Set("WWW-Authenticate", challenge)
		}
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"sub": "u"})
	})
	u.answer.Store(&f)
}

func withoutRefresh(c *tokenstore.Connection) { c.Refresh, c.Expires = ath.Secret{}, time.Time{} }

// proves: P-6
func TestATokenThatCannotBeRefreshedIsShownToUserinfo(t *testing.T) {
	u := newUserinfo(t)
	w := newWorld(t, 2, tokenstore.Config{URL: realredis.Start(t).URL()}, map[string]any{"userinfo_endpoint": u.URL},
		func(c *vault.Config) { c.Userinfo = provider.NewClient(provider.ClientConfig{AllowHTTP: true}) })
	report := func(c call) vault.Rejection { return w.replicas[0].rejected(w, c, c.first.Access) }
	for name, tt := range map[string]struct {
		status    int
		challenge string
		want      vault.Rejection
	}{
		"it accepts the token":         {200, "", vault.RejectedAccepted},
		"it wants another scope":       {403, "", vault.RejectedUnjudged},
		"it says so with 401":          {401, `Bearer error="insufficient_scope", scope="openid"`, vault.RejectedUnjudged},
		"it is away":                   {503, "", vault.RejectedUnjudged},
		"it leads elsewhere":           {302, "", vault.RejectedUnjudged},
		"it is not there":              {404, "", vault.RejectedUnjudged},
		"it rejects the token, too":    {401, `Bearer error="invalid_token"`, vault.RejectedEnded},
		"it rejects it without a word": {401, "", vault.RejectedEnded},
	} {
		t.Run(name, func(t *testing.T) {
			u.answers(tt.status, tt.challenge)
			c := w.connect(time.Hour, withoutRefresh)
			before := u.calls.Load()
			if got := report(c); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			d := w.replicas[1].ask(c)
			switch {
			case tt.want == vault.RejectedEnded && d.Reason() != authz.ReauthorizationRequired:
				t.Errorf("the next call is answered %s", d.Reason())
			case tt.want != vault.RejectedEnded && !d.Allowed():
				t.Errorf("the next call is answered %s", d.Reason())
			}
			again := vault.RejectedRecently
			if tt.want == vault.RejectedEnded {
				again = vault.RejectedRefused
			}
			if got := w.outcomes(10, c, c.first.Access); got[again] != 20 || u.calls.Load() != before+1 {
				t.Errorf("%v after %d questions", got, u.calls.Load()-before)
			}
		})
	}
	if w.endpoint.Calls() != 0 {
		t.Error("the token endpoint was asked")
	}
}

// proves: O-2
func TestNobodyIsAskedAboutATokenThatIsNotForThatServer(t *testing.T) {
	u := newUserinfo(t)
	u.answers(401, "")
	judge := func(c *vault.Config) { c.Userinfo = provider.NewClient(provider.ClientConfig{AllowHTTP: true}) }
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, map[string]any{"userinfo_endpoint": u.URL}, judge)
	for name, change := range map[string]func(*tokenstore.Connection){
		"another destination":      func(c *tokenstore.Connection) { c.Destination = "elsewhere" },
		"another userinfo":         func(c *tokenstore.Connection) { c.Bound = "uwAAAA r" },
		"it has ended":             func(c *tokenstore.Connection) { c.Ended = true },
		"and with a refresh token": func(c *tokenstore.Connection) { c.Destination, c.Refresh = "elsewhere", ath.NewSecret("r") },
	} {
		c := w.connect(time.Hour, withoutRefresh, change)
		if got := w.replicas[0].rejected(w, c, c.first.Access); got == vault.RejectedEnded || got == vault.RejectedRenewed || u.calls.Load() != 0 {
			t.Errorf("%s: %v after %d questions", name, got, u.calls.Load())
		}
	}
	without := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, judge)
	if got := without.replicas[0].rejected(without, without.connect(time.Hour, withoutRefresh), ath.NewSecret("another")); got != vault.RejectedRenewed {
		t.Error(got)
	}
	c := without.connect(time.Hour, withoutRefresh)
	if got := without.replicas[0].rejected(without, c, c.first.Access); got != vault.RejectedUnjudged {
		t.Error(got)
	}
	if without.endpoint.Calls() != 0 {
		t.Error("the token endpoint was asked")
	}
}

// A decision that waits for a new token is not told about a flight that only looked.
func TestADecisionIsNotMisledByARejectedToken(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	c := w.connect(-time.Second)
	y := &tally{}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { w.replicas[0].rejected(w, c, ath.NewSecret("one of long ago")) })
		all.Go(func() { y.add(w.replicas[0].ask(c), 0) })
	}
	all.Wait()
	if y.but(authz.Allowed) != 0 || w.endpoint.Calls() != 1 {
		t.Errorf("%v after %d calls", y, w.endpoint.Calls())
	}
}
