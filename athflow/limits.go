package athflow

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// Limits bounds what the companion does for whom, against denial of service. Every field that is zero
// has a default. What is not said to be counted over all replicas is counted in
// this process alone: two replicas let twice as much through.
type Limits struct {
	PerAddress    Rate // requests of one client address: 1200 a minute
	Registrations Rate // and registrations of it: 60 a minute
	PerAgent      Rate // calls of one agent, once it has proved who it is: 1200 a minute

	Pending           int // registrations under review in all, over all replicas: 1000
	PendingPerDomain  int // of one registrable domain: 20
	PendingPerAddress int // and from one client address: 20
	SessionsPerAgent  int // sessions of one agent that have not ended in a token, over all replicas: 100

	Concurrent           int // requests under way: 1024. One route takes at most half of them
	ConcurrentPerAddress int // and those of one client address: 128

	// Envoys are the peers whose X-Forwarded-For is believed, beyond those
	// that are believed anyway: see clientAddress.
	Envoys []netip.Prefix
}

// A Rate is so many in a time: all of them may come at once, and then they
// come back evenly.
type Rate struct {
	N   int
	Per time.Duration
}

// Unlimited is the Rate that refuses nothing.
var Unlimited = Rate{N: math.MaxInt, Per: time.Nanosecond}

// DefaultLimits are the limits where nothing else is said.
func DefaultLimits() Limits {
	return Limits{
		PerAddress:    Rate{1200, time.Minute},
		Registrations: Rate{60, time.Minute},
		PerAgent:      Rate{1200, time.Minute},

		Pending: 1000, PendingPerDomain: 20, PendingPerAddress: 20, SessionsPerAgent: 100,

		Concurrent: 1024, ConcurrentPerAddress: 128,
	}
}

func (l Limits) withDefaults() (Limits, error) {
	d := DefaultLimits()
	for _, r := range []struct{ given, fallback *Rate }{
		{&l.PerAddress, &d.PerAddress}, {&l.Registrations, &d.Registrations}, {&l.PerAgent, &d.PerAgent},
	} {
		if *r.given == (Rate{}) {
			*r.given = *r.fallback
		}
		if r.given.N <= 0 || r.given.Per <= 0 {
			return l, errors.New("athflow: a rate must be more than nothing")
		}
	}
	for _, n := range []struct{ given, fallback *int }{
		{&l.Concurrent, &d.Concurrent}, {&l.ConcurrentPerAddress, &d.ConcurrentPerAddress},
		{&l.Pending, &d.Pending}, {&l.PendingPerDomain, &d.PendingPerDomain}, {&l.PendingPerAddress, &d.PendingPerAddress},
		{&l.SessionsPerAgent, &d.SessionsPerAgent},
	} {
		if *n.given == 0 {
			*n.given = *n.fallback
		}
		if *n.given < 0 {
			return l, errors.New("athflow: a limit is less than nothing")
		}
	}
	if l.Concurrent < 2 || l.ConcurrentPerAddress < 1 {
		return l, errors.New("athflow: requests under way: want room for 2 at least, and for 1 of an address")
	}
	return l, nil
}

// A limiter counts against [Limits].
type limiter struct {
	Limits
	count func(limit string) // of what there was too much; see [LimitNames]

	addresses     *rates[netip.Addr]
	registrations *rates[netip.Addr]
	agents        *rates[ath.Tag]

	ending  *rates[netip.Addr] // requests that end rights, by the same rate
	guesses *rates[netip.Addr] // wrong admin proofs
	bodies  bodies

	mu      sync.Mutex
	all     [lanes]int
	byRoute map[string]int // of the routes that exist
	byPeer  map[place]int  // of those with a request under way
}

// A place is taken by a client in a lane.
type place struct {
	in   lane
	from netip.Addr
}

// adminGuesses is how many wrong admin proofs of an address are answered as
// such.
var adminGuesses = Rate{10, time.Minute}

// LimitNames are what a request can be too much for, as metrics name it.
func LimitNames() []string {
	return []string{"busy", "admin_proofs", "per_address", "registrations_per_address", "per_agent", "concurrent_per_address", "concurrent",
		"pending_" + tokenstore.QuotaAll, "pending_" + tokenstore.QuotaDomain, "pending_" + tokenstore.QuotaAddress, "sessions_per_agent"}
}

func newLimiter(l Limits, count func(limit string)) (*limiter, error) {
	l, err := l.withDefaults()
	if err != nil {
		return nil, err
	}
	return &limiter{
		Limits: l, count: count,
		addresses: newRates[netip.Addr](l.PerAddress), registrations: newRates[netip.Addr](l.Registrations),
		agents: newRates[ath.Tag](l.PerAgent),
		ending: newRates[netip.Addr](l.PerAddress), guesses: newRates[netip.Addr](adminGuesses),
		bodies:  bodies{byPeer: map[netip.Addr]int{}},
		byRoute: map[string]int{}, byPeer: map[place]int{},
	}, nil
}

// routeOf names the routes that a flood of the others must leave room for.
func routeOf(path string) string {
	row, _ := ath.FindPath(path)
	if row.Browser() || row.Kind == ath.PathHandshake && !row.Below() {
		return row.Path
	}
	return "other"
}

// rate counts a request of a client, or says why it is too much. route is a
// name from a closed set. An operator is not counted.
func (l *limiter) rate(r *http.Request, in lane, from netip.Addr, now time.Time) error {
	if in == operators {
		return nil
	}
	if wait := l.addresses.take(from, now); wait > 0 {
		l.count("per_address")
		return tooMany("There were too many requests from this address.", wait)
	}
	if r.URL.Path == ath.RegisterPath && r.Method == http.MethodPost {
		if wait := l.registrations.take(from, now); wait > 0 {
			l.count("registrations_per_address")
			return tooMany("There were too many registrations from this address.", wait)
		}
	}
	return nil
}

// enter gives a request a place among those under way, or says why not. It must
// be left.
func (l *limiter) enter(route string, in lane, from netip.Addr) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, at := l.Concurrent, place{in, from}
	switch in {
	case operators:
		all, at.from = operatorPlaces, netip.Addr{} // where they come from does not count
	case endings:
		all, route = endingPlaces, "" // one route, as far as the places go
	}
	if in != operators && l.byPeer[at] >= min(l.ConcurrentPerAddress, all/2) {
		l.count("concurrent_per_address")
		return nil, tooMany("Too many requests from this address are under way.", time.Second)
	}
	// Nobody's fault in particular, so it is not 429.
	if l.all[in] >= all || in == strangers && l.byRoute[route] >= l.Concurrent/2 {
		l.count("concurrent")
		return nil, ath.Errorf(ath.InternalError, "Too many requests are under way; try again.").WithStatus(http.StatusServiceUnavailable)
	}
	l.all[in]++
	l.byRoute[route]++
	l.byPeer[at]++
	return sync.OnceFunc(func() { l.leave(route, at) }), nil
}

func (l *limiter) leave(route string, at place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[at.in]--
	l.byRoute[route]--
	if l.byPeer[at]--; l.byPeer[at] == 0 {
		delete(l.byPeer, at)
	}
}

// proved counts a call of an agent that has just proved who it is. Before
// that nothing is counted against an agent, or anybody could use up what is
// its own.
func (l *limiter) proved(agent ath.Tag, now time.Time) error {
	if wait := l.agents.take(agent, now); wait > 0 {
		l.count("per_agent")
		return tooMany("There were too many requests of this agent.", wait)
	}
	return nil
}

const retryDetail = "retry_after_seconds"

func tooMany(message string, wait time.Duration) error {
	return ath.Errorf(ath.RateLimited, "%s", message).
		WithDetail(retryDetail, max(1, int(math.Ceil(wait.Seconds()))))
}

// limited runs h unless that is too much now: then it answers as the route
// would, a page for people and JSON for programs. The order is that of what a
// request costs: its address, its body, its place.
func (f *Flow) limited(w http.ResponseWriter, r *http.Request, in lane, h http.Handler) {
	if r.URL.Path == ath.HealthPath { // asked by those who would restart us
		h.ServeHTTP(w, r)
		return
	}
	from, route := network(clientAddress(r, f.limiter.Envoys)), routeOf(r.URL.Path)
	leave, err := f.admit(w, r, in, route, from)
	if err == nil {
		defer leave()
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), laneKey{}, in)))
		return
	}
	if row, _ := ath.FindPath(route); row.Browser() {
		f.servePage(func(context.Context, *call, http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(w, r)
		return
	}
	f.refuses(err).ServeHTTP(w, r)
}

type laneKey struct{}

// admit lets a request in, with its body read, or says why not. What was let in
// must leave.
func (f *Flow) admit(w http.ResponseWriter, r *http.Request, in lane, route string, from netip.Addr) (leave func(), err error) {
	if err := f.limiter.rate(r, in, from, f.Now()); err != nil {
		return nil, err
	}
	if tooManyFields(r.URL.RawQuery) {
		return nil, ath.Errorf(ath.InvalidRequest, "The query has more than %d parameters.", maxFields)
	}
	done, err := f.readAhead(w, r, from)
	if err != nil {
		return nil, err
	}
	left, err := f.limiter.enter(route, in, from)
	if err != nil {
		done()
		return nil, err
	}
	return func() { left(); done() }, nil
}

// refuses answers with an error and nothing else, and says so in the audit log
// (E-2).
func (f *Flow) refuses(err error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := ath.NewDecisionID()
		e := f.asError(r.Context(), id, err)
		f.record(r.Context(), audit.Event{
			Kind: audit.AccessDenied, Reason: strings.ToLower(string(e.Code)), DecisionID: id, Client: f.address(r),
		})
		f.writeError(w, r, id, e)
	})
}
