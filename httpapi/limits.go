package httpapi

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
)

// Limits bounds what the companion does for whom, against denial of service. Every field that is zero
// has a default. What is not said to be counted over all replicas is counted in
// this process alone: two replicas let twice as much through.
type Limits struct {
	PerAddress    ratelimit.Rate // requests of one client address: 1200 a minute
	Registrations ratelimit.Rate // and registrations of it: 60 a minute
	PerAgent      ratelimit.Rate // calls of one agent, once it has proved who it is: 1200 a minute
	Renewals      ratelimit.Rate // tokens by one standing consent (T-8): 240 an hour

	ProviderChanges  ratelimit.Rate // changes of providers by one operator: 1200 a minute
	RuntimeProviders int            // providers that are added while athd runs, over all replicas: 10,000

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

// DefaultLimits are the limits where nothing else is said.
func DefaultLimits() Limits {
	return Limits{
		PerAddress:    ratelimit.Rate{N: 1200, Per: time.Minute},
		Registrations: ratelimit.Rate{N: 60, Per: time.Minute},
		PerAgent:      ratelimit.Rate{N: 1200, Per: time.Minute},
		Renewals:      ratelimit.Rate{N: RenewalsPerToken, Per: time.Hour},

		ProviderChanges: ratelimit.Rate{N: 1200, Per: time.Minute}, RuntimeProviders: 10_000,

		Pending: 1000, PendingPerDomain: 20, PendingPerAddress: 20, SessionsPerAgent: 100,

		Concurrent: 1024, ConcurrentPerAddress: 128,
	}
}

func (l Limits) withDefaults() (Limits, error) {
	d := DefaultLimits()
	for _, r := range []struct{ given, fallback *ratelimit.Rate }{
		{&l.PerAddress, &d.PerAddress}, {&l.Registrations, &d.Registrations}, {&l.PerAgent, &d.PerAgent}, {&l.Renewals, &d.Renewals}, {&l.ProviderChanges, &d.ProviderChanges},
	} {
		if *r.given == (ratelimit.Rate{}) {
			*r.given = *r.fallback
		}
		if r.given.N <= 0 || r.given.Per <= 0 {
			return l, errors.New("httpapi: a rate must be positive")
		}
	}
	for _, n := range []struct{ given, fallback *int }{
		{&l.Concurrent, &d.Concurrent}, {&l.ConcurrentPerAddress, &d.ConcurrentPerAddress},
		{&l.Pending, &d.Pending}, {&l.PendingPerDomain, &d.PendingPerDomain}, {&l.PendingPerAddress, &d.PendingPerAddress},
		{&l.SessionsPerAgent, &d.SessionsPerAgent}, {&l.RuntimeProviders, &d.RuntimeProviders},
	} {
		if *n.given == 0 {
			*n.given = *n.fallback
		}
		if *n.given < 0 {
			return l, errors.New("httpapi: a limit must not be negative")
		}
	}
	if l.Concurrent < 2 || l.ConcurrentPerAddress < 1 {
		return l, errors.New("httpapi: Concurrent must be at least 2 and ConcurrentPerAddress at least 1")
	}
	return l, nil
}

// A limiter counts against [Limits].
type limiter struct {
	Limits
	count func(limit string) // of what there was too much; see [LimitNames]

	addresses     *ratelimit.Table[netip.Addr]
	registrations *ratelimit.Table[netip.Addr]
	agents        *ratelimit.Table[ath.Tag]
	renewals      *ratelimit.Table[ath.Digest]
	changes       *ratelimit.Table[string] // of providers, by the operator's name

	ending  *ratelimit.Table[netip.Addr] // requests that end rights, by the same rate
	guesses *ratelimit.Table[netip.Addr] // wrong admin proofs

	*underWay
}

// underWay are the requests that are being read or served. They are counted as one
// also while a server with other limits takes the place of theirs.
type underWay struct {
	bodies bodies

	mu      sync.Mutex
	all     [lanes]int
	byRoute map[string]int // of the routes that exist
	byPeer  map[place]int  // of those with a request under way
}

// A place is taken by a client in a lane.
type place struct {
	in   Lane
	from netip.Addr
}

// adminGuesses is how many wrong admin proofs of an address are answered as
// such.
var adminGuesses = ratelimit.Rate{N: 10, Per: time.Minute}

// LimitNames are what a request can be too much for, as metrics name it.
func LimitNames() []string {
	return []string{"busy", "admin_proofs", "per_address", "registrations_per_address", "per_agent", "concurrent_per_address", "concurrent",
		"pending_" + tokenstore.QuotaAll, "pending_" + tokenstore.QuotaDomain, "pending_" + tokenstore.QuotaAddress, "sessions_per_agent", "healings_per_connection", "renewals_per_consent", "provider_changes"}
}

// newLimiter returns a limiter that goes on with the counts of before, if there is
// one: by a rate that stays the same, nobody gets more than it allows.
func newLimiter(l Limits, count func(limit string), before *limiter) (*limiter, error) {
	l, err := l.withDefaults()
	if err != nil {
		return nil, err
	}
	if before == nil {
		before = &limiter{underWay: &underWay{
			bodies:  bodies{byPeer: map[netip.Addr]int{}},
			byRoute: map[string]int{}, byPeer: map[place]int{},
		}}
	}
	return &limiter{
		Limits: l, count: count, underWay: before.underWay,
		addresses: before.addresses.At(l.PerAddress, ratelimit.ShareOverflow), registrations: before.registrations.At(l.Registrations, ratelimit.ShareOverflow),
		agents: before.agents.At(l.PerAgent, ratelimit.ShareOverflow), renewals: before.renewals.At(l.Renewals, ratelimit.ShareOverflow), changes: before.changes.At(l.ProviderChanges, ratelimit.ShareOverflow),
		ending: before.ending.At(l.PerAddress, ratelimit.ShareOverflow), guesses: before.guesses.At(adminGuesses, ratelimit.ShareOverflow),
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
func (l *limiter) rate(r *http.Request, in Lane, from netip.Addr, now time.Time) error {
	if in == LaneOperators {
		return nil
	}
	if wait := l.addresses.Take(from, now); wait > 0 {
		l.count("per_address")
		return TooMany("There were too many requests from this address.", wait)
	}
	if r.URL.Path == ath.RegisterPath && r.Method == http.MethodPost {
		if wait := l.registrations.Take(from, now); wait > 0 {
			l.count("registrations_per_address")
			return TooMany("There were too many registrations from this address.", wait)
		}
	}
	return nil
}

// enter gives a request a place among those under way, or says why not. It must
// be left.
func (l *limiter) enter(route string, in Lane, from netip.Addr) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, at := l.Concurrent, place{in, from}
	switch in {
	case LaneOperators:
		all, at.from = operatorPlaces, netip.Addr{} // where they come from does not count
	case LaneEndings:
		all, route = endingPlaces, "" // one route, as far as the places go
	}
	if in != LaneOperators && l.byPeer[at] >= min(l.ConcurrentPerAddress, all/2) {
		l.count("concurrent_per_address")
		return nil, TooMany("Too many requests from this address are under way.", time.Second)
	}
	// Nobody's fault in particular, so it is not 429.
	if l.all[in] >= all || in == LaneHandshake && l.byRoute[route] >= l.Concurrent/2 {
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

func (l *limiter) proved(agent ath.Tag, now time.Time) error {
	if wait := l.agents.Take(agent, now); wait > 0 {
		l.count("per_agent")
		return TooMany("There were too many requests of this agent.", wait)
	}
	return nil
}

// RenewalsPerToken is how many tokens one standing consent gives in the life of a
// token, all at once or spread out. Nobody is asked for them, so that nothing else
// bounds how many an agent holds, what the store keeps of them, and how long it
// takes to end them all.
const RenewalsPerToken = 240

func (l *limiter) renewal(of ath.Digest, now time.Time) error {
	if wait := l.renewals.Take(of, now); wait > 0 {
		l.count("renewals_per_consent")
		return TooMany("There were too many tokens by this refresh_token: use those that there are.", wait)
	}
	return nil
}

// TooMany refuses what there is too much of, until wait has passed.
func TooMany(message string, wait time.Duration) error {
	return ath.Errorf(ath.RateLimited, "%s", message).
		WithDetail(ath.RetryDetail, ath.RetrySeconds(wait))
}

// Serve runs h unless that is too much now: then refuse answers, as the route
// would. The order is that of what a request costs: its address, its body, its
// place.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, in Lane, h http.Handler, refuse func(error) http.Handler) {
	leave, err := s.admit(w, r, in, routeOf(r.URL.Path), Network(s.ClientAddress(r)))
	if err != nil {
		refuse(err).ServeHTTP(w, r)
		return
	}
	defer leave()
	h.ServeHTTP(w, InLane(r, in))
}

// admit lets a request in, with its body read, or says why not. What was let in
// must leave.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, in Lane, route string, from netip.Addr) (leave func(), err error) {
	if err := s.limiter.rate(r, in, from, s.Now()); err != nil {
		return nil, err
	}
	if tooManyFields(r.URL.RawQuery) {
		return nil, ath.Errorf(ath.InvalidRequest, "The query has more than %d parameters.", maxFields)
	}
	done, err := s.readAhead(w, r, from)
	if err != nil {
		return nil, err
	}
	left, err := s.limiter.enter(route, in, from)
	if err != nil {
		done()
		return nil, err
	}
	return func() { left(); done() }, nil
}

// Refuses answers with an error and nothing else, and says so in the audit log
// (E-2).
func (s *Server) Refuses(err error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := ath.NewDecisionID()
		e := s.AsError(r.Context(), id, err)
		s.RecordRefusal(r, audit.Event{
			Kind: audit.AccessDenied, Reason: strings.ToLower(string(e.Code)), DecisionID: id, Client: s.Address(r),
		}, e.Code)
		s.WriteError(w, id, e)
	})
}
