package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A world is what a registry sees: who holds what, and what changes.
type world struct {
	*Registry
	t         *testing.T
	providers *provider.Providers
	events    *bytesLog
	stop      context.CancelFunc

	mu      sync.Mutex
	reasons map[ath.Digest]authz.Holding // by grant; none: it holds for an hour
	all     authz.Reason                 // of all, if it is not ""
	rules   uint64
	asked   int
	inside  func(ath.Digest) // called in the middle of a judgement, after the store was read
	refused map[string]int

	changes chan tokenstore.Change
	away    time.Time // since when the feed is not followed; zero: it is
}

type bytesLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *bytesLog) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *bytesLog) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (w *world) Next(ctx context.Context) (tokenstore.Change, error) {
	select {
	case c := <-w.changes:
		return c, nil
	case <-ctx.Done():
		return tokenstore.Change{}, ctx.Err()
	}
}

func (w *world) Age() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away.IsZero() {
		return 0
	}
	return time.Since(w.away)
}

func (w *world) Close() {}

func (w *world) holds(_ context.Context, h authz.Held) authz.Holding {
	w.mu.Lock()
	w.asked++
	got, known := w.reasons[h.Grant]
	if !known {
		got = authz.Holding{Reason: authz.Allowed, Until: h.Until, User: "user-1"}
	}
	if h.Rules != w.rules {
		got = authz.Holding{Reason: authz.ScopeMissing}
	}
	if w.all != "" {
		got = authz.Holding{Reason: w.all}
	}
	inside := w.inside
	w.mu.Unlock()
	if inside != nil {
		inside(h.Grant)
	}
	return got
}

// set changes the world.
func (w *world) set(edit func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit()
}

// times is how often somebody was asked, since it was asked last.
func (w *world) times() (n int) {
	w.set(func() { n, w.asked = w.asked, 0 })
	return n
}

// say has a grant hold no more, or not for as long.
func (w *world) say(g ath.Digest, h authz.Holding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reasons[g] = h
}

func (w *world) revoke(c Call) {
	w.say(c.Held.Grant, authz.Holding{Reason: authz.TokenRevoked})
}

// newWorld returns a world whose registry runs. Call it within synctest.
func newWorld(t *testing.T, edit func(*Config)) *world {
	t.Helper()
	w := &world{
		t: t, providers: provider.NewProviders(set(t, "shop", "other")), events: &bytesLog{}, rules: 1,
		reasons: map[ath.Digest]authz.Holding{}, changes: make(chan tokenstore.Change), refused: map[string]int{},
	}
	log := audit.New(audit.Config{Writer: w.events, JSON: true})
	c := Config{
		Holds: w.holds, Changes: func() Changes { return w }, Providers: w.providers, Limits: DefaultLimits(),
		Audit: log, Logger: slog.New(slog.DiscardHandler), Refused: func(limit string) { w.refused[limit]++ },
	}
	if edit != nil {
		edit(&c)
	}
	var err error
	if w.Registry, err = New(c); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		log.Close()
		w.empty()
	})
	synctest.Wait()
	return w
}

// empty fails the test where something of a stream is left.
func (w *world) empty() {
	w.t.Helper()
	x := &w.index
	if n := len(x.grants) + len(x.connections) + len(x.agents) + len(x.providers) + len(w.ends) + len(w.urgent) + w.judging + w.atWork + w.sweeping; n > 0 {
		w.t.Errorf("%d things are left of streams that are over", n)
	}
}

func set(t testing.TB, ids ...string) *provider.Set {
	t.Helper()
	var all []*provider.Provider
	for _, id := range ids {
		all = append(all, &provider.Provider{ID: id})
	}
	s, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call makes up a call of an agent at a provider.
func call(n int, agent, id string) Call {
	token := ath.NewToken(ath.NewTag())
	return Call{Decision: fmt.Sprintf("dec_%d", n), Held: authz.Held{
		Tag: token.Tag(), Grant: token.Digest(), Agent: "https://" + agent + ".example/", Provider: id, Scope: "read", Rules: 1,
		Until: time.Now().Add(time.Hour),
	}}
}

// A watched is a call under watch, and how it ended.
type watched struct {
	*Stream
	ended chan struct{}
	why   Reason // written before ended is closed
}

func (s *watched) Ended() <-chan struct{} { return s.ended }

// Reason is why the call ended; "": it did not.
func (s *watched) Reason() Reason {
	select {
	case <-s.ended:
		return s.why
	default:
		return ""
	}
}

func (w *world) tryBegin(c Call) (*watched, error) {
	s := &watched{ended: make(chan struct{})}
	c.Ended = func(why Reason) {
		s.why = why
		close(s.ended)
	}
	var err error
	s.Stream, err = w.Begin(w.t.Context(), c)
	return s, err
}

func (w *world) begin(c Call) *watched {
	w.t.Helper()
	s, err := w.tryBegin(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) refusal(c Call) *Refusal {
	w.t.Helper()
	s, err := w.tryBegin(c)
	why, ok := errors.AsType[*Refusal](err)
	if !ok || s.Stream != nil {
		w.t.Fatalf("began %v, %v", s, err)
	}
	return why
}

// Each kind of change ends what it concerns, and nothing else.
// proves: V-4, R-6, O-2
func TestAChangeEndsWhatItConcerns(t *testing.T) {
	for name, do := range map[string]func(w *world, c Call){
		"the grant": func(w *world, c Call) {
			w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: c.Held.Tag, Digest: c.Held.Grant}
		},
		"its renewal": func(w *world, c Call) {
			w.changes <- tokenstore.Change{Kind: tokenstore.RenewalEnded, Tag: c.Held.Tag, Digest: ath.DigestOf("renewal")}
		},
		"its connection": func(w *world, c Call) {
			w.changes <- tokenstore.Change{Kind: tokenstore.ConnectionEnded, Tag: c.Held.Tag}
		},
		"its agent": func(w *world, c Call) {
			w.changes <- tokenstore.Change{Kind: tokenstore.AgentChanged, Tag: ath.AgentTag(c.Held.Agent)}
		},
		"something new of it": func(w *world, c Call) {
			w.changes <- tokenstore.Change{Kind: "later", Tag: c.Held.Tag}
		},
		"everything":    func(w *world, _ Call) { w.changes <- tokenstore.Change{Kind: tokenstore.Everything} },
		"its provider":  func(w *world, _ Call) { w.providers.Replace(set(w.t, "shop", "other")) },
		"no provider":   func(w *world, _ Call) { w.providers.Replace(nil) },
		"policy":        func(w *world, _ Call) { w.JudgeAll() },
		"nothing known": func(*world, Call) { time.Sleep(judgeEvery + 2*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				ends, lives := call(1, "one", "shop"), call(2, "two", "other")
				a, b := w.begin(ends), w.begin(lives)
				w.revoke(ends)
				synctest.Wait()
				if a.Reason() != "" {
					t.Fatal("ended by nothing")
				}
				do(w, ends)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if a.Reason() != Reason(authz.TokenRevoked) || b.Reason() != "" {
					t.Fatalf("%q and %q", a.Reason(), b.Reason())
				}
				select {
				case <-a.Ended():
				default:
					t.Error("the stream is not told")
				}
				b.Close()
				b.Close()
				a.Close()
				if w.Len() != 0 {
					t.Error("something is still watched")
				}
			})
		})
	}
}

// A change that concerns others asks nobody about a call.
func TestAChangeAsksAboutNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for i := range 50 {
			w.begin(call(i, fmt.Sprint("agent", i), "shop"))
		}
		w.times()
		other := call(100, "else", "other")
		w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: other.Held.Tag, Digest: other.Held.Grant}
		w.changes <- tokenstore.Change{Kind: tokenstore.AgentChanged, Tag: ath.AgentTag(other.Held.Agent)}
		w.changes <- tokenstore.Change{Kind: tokenstore.ProviderChanged, Tag: ath.NewTag()}
		synctest.Wait()
		if n := w.times(); n != 0 {
			t.Errorf("%d were asked about", n)
		}
	})
}

// What takes something from a call while it begins is noticed: before it is
// registered the store tells, afterwards the feed.
// proves: V-4
func TestNothingIsMissedBetweenDecisionAndWatch(t *testing.T) {
	for name, hit := range map[string]func(w *world, c Call){
		"the feed": func(w *world, c Call) {
			w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: c.Held.Tag, Digest: c.Held.Grant}
		},
		"other providers": func(w *world, _ Call) { w.providers.Replace(set(w.t, "shop")) },
		"another policy":  func(w *world, _ Call) { w.JudgeAll() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				c := call(1, "one", "shop")
				first := true
				w.inside = func(ath.Digest) {
					w.mu.Lock()
					was := first
					first = false
					w.mu.Unlock()
					if was { // the store was read: now it changes
						w.revoke(c)
						hit(w, c)
						time.Sleep(time.Second) // and the other judgement overtakes this one
					}
				}
				s, err := w.tryBegin(c)
				synctest.Wait()
				if err == nil && s.Reason() == "" {
					t.Fatal("the call goes on")
				}
				if w.Len() != 0 {
					t.Error("it is still watched")
				}
			})
		})
	}
	t.Run("revoked before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			c := call(1, "one", "shop")
			w.revoke(c)
			if why := w.refusal(c); why.Reason != Reason(authz.TokenRevoked) || why.Reply().Code != ath.TokenRevoked {
				t.Error(why)
			}
		})
	})
}

// A call ends with its token, or with its agent's approval, as both are now.
// proves: T-6, R-5
func TestACallEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late []time.Duration
		w := newWorld(t, func(c *Config) { c.Ended = func(_ Reason, took time.Duration) { late = append(late, took) } })
		began := time.Now()
		ended := make(map[int]time.Duration)
		var mu sync.Mutex
		for _, seconds := range []int{30, 10, 20, 10} {
			c := call(seconds, "one", "shop")
			c.Held.Until = began.Add(time.Duration(seconds)*time.Second + 7*time.Millisecond)
			s := w.begin(c)
			go func() {
				<-s.Ended()
				mu.Lock()
				ended[seconds] = time.Since(began)
				mu.Unlock()
				if s.Reason() != Reason(authz.TokenExpired) {
					t.Errorf("%s", s.Reason())
				}
			}()
		}
		// One is narrowed to less, one may go on for longer.
		c := call(99, "two", "shop")
		c.Held.Until = began.Add(40 * time.Second)
		s := w.begin(c)
		w.say(c.Held.Grant, authz.Holding{Reason: authz.Allowed, Until: began.Add(5 * time.Second)})
		w.changes <- tokenstore.Change{Kind: tokenstore.AgentChanged, Tag: ath.AgentTag(c.Held.Agent)}
		<-s.Ended()
		if took := time.Since(began); took < 5*time.Second || took > 5050*time.Millisecond {
			t.Errorf("a narrowed approval ends after %v", took)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for seconds, took := range ended {
			if want := time.Duration(seconds)*time.Second + 7*time.Millisecond; took < want || took > want+50*time.Millisecond {
				t.Errorf("%d s: after %v", seconds, took)
			}
		}
		if len(ended) != 3 || len(late) != 5 {
			t.Errorf("%d ended, %d were told", len(ended), len(late))
		}
		for _, took := range late {
			if took > 50*time.Millisecond {
				t.Errorf("%v late", took)
			}
		}
		past := call(1, "one", "shop")
		past.Held.Until = time.Now()
		if why := w.refusal(past); why.Reason != Reason(authz.TokenExpired) {
			t.Error(why)
		}
	})
}

// E-1, and the reply says which limit it was.
// proves: E-1, E-2
func TestStreamsAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Limits = Limits{PerGrant: 2, PerAgent: 3, Total: 5} })
		one := call(1, "one", "shop")
		a := w.begin(one)
		w.begin(one)
		refused := func(c Call, limit string) {
			t.Helper()
			why := w.refusal(c)
			e := why.Reply()
			if why.Limit != limit || e.Status() != 429 || e.Code != ath.RateLimited || why.RetryAfter() <= 0 ||
				e.Details["reason"] != "too_many_streams" || e.Details["limit"] != limit || e.Details["decision_id"] != c.Decision {
				t.Errorf("%+v, %+v", why, e)
			}
		}
		refused(one, "per_grant")
		w.begin(call(2, "one", "shop"))
		refused(call(3, "one", "other"), "per_agent")
		w.begin(call(4, "two", "shop"))
		w.begin(call(5, "three", "shop"))
		refused(call(6, "four", "shop"), "total")
		w.Use(Limits{PerGrant: 2, PerAgent: 3, Total: 6}, false)
		last := w.begin(call(6, "four", "shop"))
		last.Close()
		a.Close()
		w.begin(one)
		refused(one, "per_grant")
		w.Use(Limits{}, false)
		refused(call(7, "five", "shop"), "per_grant")
		if w.Len() != 5 || w.refused["per_grant"] != 3 || w.refused["total"] != 1 {
			t.Errorf("%d are watched, refused %v", w.Len(), w.refused)
		}
	})
}

// An agent that tries on and on does not fill the audit log.
func TestRefusalsByACapAreCountedAndNotAllWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Limits = Limits{PerGrant: 1, PerAgent: 1, Total: 5} })
		c := call(1, "one", "shop")
		w.begin(c)
		const tries = 2000
		for range tries {
			w.refusal(c)
		}
		other := call(2, "one", "other")
		w.refusal(other)
		if n := strings.Count(w.events.String(), "access_denied"); n < 2 || n > tries/2 || !strings.Contains(w.events.String(), "dec_2") {
			t.Errorf("%d events:\n%.600s", n, w.events)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !strings.Contains(w.events.String(), `"count"`) {
			t.Error("nobody is told how many there were")
		}
	})
}

// Nothing is watched that is zero, or by a registry that does not run.
func TestZeroValuesAreNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		whole := call(1, "one", "shop")
		for name, edit := range map[string]func(*Call){
			"no decision": func(c *Call) { c.Decision = "" },
			"no grant":    func(c *Call) { c.Held.Grant = ath.Digest{} },
			"nothing":     func(c *Call) { *c = Call{} },
			"no end":      func(c *Call) { c.Held.Until = time.Time{} },
		} {
			c := whole
			edit(&c)
			if why := w.refusal(c); why.Reply().Status() < 400 {
				t.Errorf("%s: %v", name, why.Reply())
			}
		}
		w.set(func() { w.all = "x" })
		w.refusal(whole)
		w.set(func() { w.all = "" })
		w.say(whole.Held.Grant, authz.Holding{})
		if why := w.refusal(whole); why.Reason != Reason(authz.InternalError) {
			t.Errorf("a zero holding: %v", why)
		}
		w.stop()
		synctest.Wait()
		w.set(func() { delete(w.reasons, whole.Held.Grant) })
		if why := w.refusal(whole); why.Reply().Status() != 503 || why.RetryAfter() != 1 {
			t.Errorf("nobody follows the feed: %v", why)
		}
		if _, err := New(Config{}); err == nil {
			t.Error("a registry of nothing")
		}
	})
}

// Another rule of the call's scope may be one that does not cover it.
// proves: P-4
func TestACallEndsWhereTheRulesOfItsScopeChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		s := w.begin(call(1, "one", "shop"))
		w.set(func() { w.rules = 2 })
		w.providers.Replace(set(t, "shop", "other"))
		synctest.Wait()
		if s.Reason() != Reason(authz.ScopeMissing) {
			t.Errorf("%q", s.Reason())
		}
		c := call(2, "one", "shop")
		if why := w.refusal(c); why.Reason != Reason(authz.ScopeMissing) {
			t.Errorf("allowed by the rules of before: %v", why)
		}
		c.Held.Rules = 2
		w.begin(c).Close()
	})
}

// Redis is away: by default calls end after five seconds, and not before.
func TestCallsEndWhereNobodyCanBeAsked(t *testing.T) {
	for name, away := range map[string]func(w *world){
		"the feed":                func(w *world) { w.away = time.Now() },
		"one's record":            func(w *world) { w.all = authz.StoreUnavailable },
		"the provider's metadata": func(w *world) { w.all = authz.ProviderUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				s := w.begin(call(1, "one", "shop"))
				time.Sleep(time.Minute / 2)
				w.set(func() { away(w) })
				w.JudgeAll()
				began := time.Now()
				time.Sleep(lossAfter - time.Second)
				if s.Reason() != "" {
					t.Fatal("ended too soon")
				}
				<-s.Ended()
				if took := time.Since(began); s.Reason() != Reason(authz.StoreUnavailable) || took > lossAfter+time.Second {
					t.Errorf("%q after %v", s.Reason(), took)
				}
			})
		})
	}
	t.Run("a moment does no harm", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.begin(call(1, "one", "shop"))
			w.set(func() { w.all, w.away = authz.StoreUnavailable, time.Now() })
			w.JudgeAll()
			time.Sleep(lossAfter - time.Second)
			w.set(func() { w.all, w.away = "", time.Time{} })
			time.Sleep(2 * time.Minute)
			if s.Reason() != "" {
				t.Errorf("ended by %q", s.Reason())
			}
		})
	})
}

// Kept, they go on, and are judged again when Redis is back: and end with their token
// in any case.
func TestKeptCallsAreJudgedWhenRedisIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Keep = true })
		gone, good, short := call(1, "one", "shop"), call(2, "two", "shop"), call(3, "three", "shop")
		short.Held.Until = time.Now().Add(20 * time.Second)
		a, b, c := w.begin(gone), w.begin(good), w.begin(short)
		w.set(func() { w.all, w.away = authz.StoreUnavailable, time.Now() })
		w.revoke(gone)
		w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: gone.Held.Tag, Digest: gone.Held.Grant}
		time.Sleep(30 * time.Second)
		if a.Reason() != "" || b.Reason() != "" || c.Reason() != Reason(authz.TokenExpired) {
			t.Fatalf("%q, %q, %q", a.Reason(), b.Reason(), c.Reason())
		}
		w.set(func() { w.all, w.away = "", time.Time{} })
		back := time.Now()
		<-a.Ended()
		if took := time.Since(back); a.Reason() != Reason(authz.TokenRevoked) || took > time.Second {
			t.Errorf("%q after %v", a.Reason(), took)
		}
		time.Sleep(time.Minute)
		if b.Reason() != "" {
			t.Errorf("ended by %q", b.Reason())
		}
	})
}

// What was revoked while nobody could hear of it is found when the feed is back, also
// where it reports nothing of it.
//
// proves: V-4
func TestAFeedThatIsBackHasAllJudgedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Keep = true })
		gone := call(1, "one", "shop")
		s := w.begin(gone)
		w.set(func() { w.away = time.Now() })
		time.Sleep(20 * time.Second)
		w.revoke(gone)
		time.Sleep(time.Second)
		if s.Reason() != "" {
			t.Fatalf("ended by %q", s.Reason())
		}
		w.set(func() { w.away = time.Time{} })
		time.Sleep(time.Second)
		if s.Reason() != Reason(authz.TokenRevoked) {
			t.Errorf("it goes on: %q", s.Reason())
		}
	})
}

// A call that something ends while it is being judged does not begin, whatever that
// judgement says.
//
// proves: V-4
func TestWhatEndsWhileItIsJudgedDoesNotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.inside = func(ath.Digest) { w.Drain(t.Context(), 0) }
		if why := w.refusal(call(1, "one", "shop")); why.Reason != Draining || why.RetryAfter() <= 0 {
			t.Errorf("%+v", why)
		}
	})
}

// Where athd stops, calls end spread over a time, or go on without it.
func TestDrain(t *testing.T) {
	for keep, want := range map[bool]Reason{false: Draining, true: Released} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Keep = keep })
			began := time.Now()
			var mu sync.Mutex
			var first, last time.Duration = math.MaxInt64, 0
			for i := range 100 {
				s := w.begin(call(i, fmt.Sprint("a", i), "shop"))
				go func() {
					<-s.Ended()
					mu.Lock()
					defer mu.Unlock()
					took := time.Since(began)
					first, last = min(first, took), max(last, took)
					if s.Reason() != want {
						t.Errorf("%q, want %q", s.Reason(), want)
					}
				}()
			}
			w.Drain(t.Context(), 4*time.Second)
			synctest.Wait()
			switch {
			case w.Len() > 0:
				t.Errorf("%d are left", w.Len())
			case keep && last > 0, !keep && (first > 0 || last < 2*time.Second || last > 4*time.Second):
				t.Errorf("from %v to %v", first, last)
			}
			if why := w.refusal(call(1, "one", "shop")); why.Reason != Draining || why.Reply().Status() != 503 {
				t.Errorf("while it drains: %v", why)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for i := range 100 {
			w.begin(call(i, fmt.Sprint("a", i), "shop"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.Drain(ctx, time.Hour)
		if w.Len() > 0 || ctx.Err() == nil {
			t.Errorf("%d outlive the drain", w.Len())
		}
	})
}

// Where everything may have changed, all are judged, and not all at once.
func TestAllAreJudgedAgainAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		const n = 3 * sweepRate
		w.Use(Limits{n + 1, n + 1, n + 1}, false)
		for i := range n {
			w.begin(call(i, fmt.Sprint("a", i), "shop"))
		}
		urgent := call(n, "urgent", "other")
		s := w.begin(urgent)
		w.times()
		w.changes <- tokenstore.Change{Kind: tokenstore.Everything}
		time.Sleep(time.Second)
		first := w.times()
		if first > 2*sweepRate+1 || first < sweepRate/2 {
			t.Errorf("%d in a second", first)
		}
		w.revoke(urgent)
		w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: urgent.Held.Tag, Digest: urgent.Held.Grant}
		synctest.Wait()
		if s.Reason() == "" {
			t.Error("what is known to have ended waits for the rest")
		}
		time.Sleep(4 * time.Second)
		if all := first + w.times(); all < n {
			t.Errorf("%d of %d", all, n)
		}
	})
}

// A part of the store hangs: what is revoked elsewhere ends at once, however many calls
// of that part there are, and whether or not somebody is being judged already.
//
// proves: V-4
func TestWhatHangsHoldsUpNobodyElse(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "more than there are judges": 3 * judges} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.Keep = true })
				hung, away := map[ath.Digest]bool{}, false
				w.inside = func(d ath.Digest) {
					w.mu.Lock()
					waits := away && hung[d]
					w.mu.Unlock()
					if waits {
						time.Sleep(judgeTime)
					}
				}
				for i := range n {
					c := call(i, fmt.Sprint("a", i), "shop")
					hung[c.Held.Grant] = true
					w.begin(c)
				}
				revoked := call(n, "revoked", "other")
				s := w.begin(revoked)
				w.set(func() {
					away = true
					for d := range hung {
						w.reasons[d] = authz.Holding{Reason: authz.StoreUnavailable}
					}
				})
				w.JudgeAll()
				time.Sleep(3*judgeTime + 100*time.Millisecond)
				w.revoke(revoked)
				w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: revoked.Held.Tag, Digest: revoked.Held.Grant}
				synctest.Wait()
				if s.Reason() != Reason(authz.TokenRevoked) {
					t.Errorf("it goes on: %q", s.Reason())
				}
				w.set(func() { away = false; clear(w.reasons) })
				time.Sleep(2 * judgeTime)
			})
		})
	}
}

// Who, which decision and why, and nothing else.
// proves: U-1
func TestAnEndedStreamIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := call(7, "one", "shop")
		s := w.begin(c)
		w.revoke(c)
		w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: c.Held.Tag, Digest: c.Held.Grant}
		<-s.Ended()
		over := w.begin(call(8, "one", "shop"))
		over.Close()
		synctest.Wait()
		time.Sleep(time.Second)
		const want = `"event":"stream_ended","agent_id":"https://one.example/","user_id":"user-1","provider_id":"shop"`
		text := w.events.String()
		if !containsAll(text, want, `"denial_reason":"token_revoked","decision_id":"dec_7"`) || containsAll(text, "dec_8") {
			t.Error(text)
		}
	})
}
