package bench

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/figures"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

const (
	refreshPairs  = 7
	refreshDuring = 3 * time.Second
	refreshRate   = 30          // calls a second of users whose tokens have ended
	refreshSlow   = time.Second // of the token endpoint
	besideGoal    = 2.0         // p99 with / p99 without, as beside a flood
)

// BenchmarkBesideRefresh asks for decisions on tokens that live, beside calls of
// other users: in one half of each pair their tokens live, too, in the other they
// have ended, and the token endpoint is slow. It is asked as often in both, in the
// first by the test, so that the machine has the same to do but for athd's part.
// What counts is the median of the pairs' ratios of p99.
func BenchmarkBesideRefresh(b *testing.B) {
	var refreshed atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(refreshSlow)
		refreshed.Add(1)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"access_token": "access-" + rand.Text(), "token_type": "Bearer", "expires_in": 3600, "refresh_token": "refresh-" + rand.Text(),
		})
	}))
	b.Cleanup(endpoint.Close)
	tokenURL := endpoint.URL + "/token"
	r := newFloodRigOn(b, strings.Replace(floodConfiguration, "https://login.example/token", tokenURL, 1))
	messages := r.users(b, 500, false, tokenURL)
	n := int(refreshDuring.Seconds() * refreshRate)
	r.decide(b, messages, time.Second)
	for range b.N {
		var all []float64
		var without, with []time.Duration
		for range refreshPairs {
			p99 := map[bool]time.Duration{}
			for _, ended := range []bool{false, true} {
				others := r.users(b, n, ended, tokenURL)
				p99[ended] = r.beside(b, messages, others, func() {
					if !ended {
						askEndpoint(b, tokenURL)
					}
				})
			}
			without, with = append(without, p99[false]), append(with, p99[true])
			all = append(all, float64(p99[true])/float64(p99[false]))
		}
		slices.Sort(all)
		slices.Sort(without)
		slices.Sort(with)
		if got := refreshed.Load(); got < int64(2*refreshPairs*n*9/10) {
			b.Errorf("the token endpoint was asked %d times, less than %d", got, 2*refreshPairs*n)
		}
		ratio := median(all)
		b.ReportMetric(ratio, "p99/p99")
		figures.Beside.Seen(b, ratio <= besideGoal, "%.2f, median of %d pairs (%.2f to %.2f): %v beside %d refreshes a second that take %v, %v without",
			ratio, len(all), all[0], all[len(all)-1], with[len(with)/2].Round(10*time.Microsecond), refreshRate, refreshSlow, without[len(without)/2].Round(10*time.Microsecond))
	}
}

// beside measures p99 of decisions while others call at a steady rate.
func (r *floodRig) beside(t testing.TB, messages, others [][]byte, more func()) time.Duration {
	t.Helper()
	conn := dialCheck(t, r.athd.socket)
	var stop atomic.Bool
	var all, under sync.WaitGroup
	all.Go(func() {
		every(refreshRate, &stop, func(i int) {
			if i < len(others) {
				under.Go(func() {
					if _, err := ask(conn, others[i]); err != nil {
						t.Errorf("a call of another user: %v", err)
					}
					more()
				})
			}
		})
	})
	took := r.decide(t, messages, refreshDuring)
	stop.Store(true)
	all.Wait()
	under.Wait()
	slices.Sort(took)
	return took[len(took)*99/100]
}

// askEndpoint is a refresh by somebody else.
func askEndpoint(t testing.TB, tokenURL string) {
	resp, err := http.PostForm(tokenURL, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"refresh"}})
	if err != nil {
		t.Errorf("the token endpoint: %v", err)
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// users stores connections of other users, with access tokens that have ended or
// not, and returns what Envoy asks about a call of each.
func (r *floodRig) users(t testing.TB, n int, ended bool, tokenURL string) [][]byte {
	t.Helper()
	store, now := r.open(t), time.Now()
	defer store.Close()
	expires := now.Add(time.Hour)
	if ended {
		expires = now.Add(-time.Second)
	}
	id := "https://agents-0.example/.well-known/agent.json"
	scopes := ath.Scopes{"products:read", "orders:write"}
	out := make([][]byte, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range out {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			tag, user := ath.NewTag(), "user-"+rand.Text()
			token := ath.NewToken(tag)
			errs[i] = store.PutConnection(t.Context(), tag, tokenstore.Connection{
				Agent: id, User: user, Provider: "shop", Access: ath.NewSecret(stage.UserToken), Refresh: ath.NewSecret("refresh-" + rand.Text()),
				Scopes: scopes, Created: expires.Add(-2 * time.Hour), Expires: expires, Destination: tokenURL + " athd http://" + r.upstream,
			}, now.Add(time.Hour))
			if errs[i] == nil {
				errs[i] = store.PutGrant(t.Context(), token, tokenstore.Grant{
					Agent: id, ClientID: "client-" + string(ath.AgentTag(id)), User: user, Provider: "shop", Scopes: scopes,
					Connection: tag, Issued: now, Expires: now.Add(time.Hour),
				})
			}
			out[i] = call{token: token.Secret().Reveal(), agent: id}.check(t)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(fmt.Errorf("storing a user: %w", err))
		}
	}
	return out
}
