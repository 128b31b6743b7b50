package vault

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A Store is where connections are. [tokenstore.Store] is the one that serves.
type Store interface {
	RefreshState(context.Context, tokenstore.ConnectionRef) (tokenstore.RefreshState, error)
	NewRefresh(tokenstore.RefreshState, tokenstore.Attempt) (*tokenstore.Refresh, error)
	BeginRefresh(context.Context, *tokenstore.Refresh, time.Duration) error
	RenewLease(context.Context, *tokenstore.Refresh, time.Duration) error
	FinishRefresh(context.Context, *tokenstore.Refresh, *tokenstore.Connection, time.Duration) error
	FailRefresh(context.Context, *tokenstore.Refresh, *tokenstore.Attempt) error
	Once(ctx context.Context, tag ath.Tag, what, value string, ttl time.Duration) (bool, error)
	HandRevocation(context.Context, ath.Tag, *tokenstore.Connection) (tokenstore.Upstream, error)

	KeepDue(ctx context.Context, in tokenstore.KeepIndex, by time.Time, offset, limit int) ([]ath.Tag, error)
	ConnectionsOf(context.Context, []ath.Tag) (map[ath.Tag]tokenstore.ConnectionInfo, error)
	KeepLater(context.Context, tokenstore.KeepIndex, map[ath.Tag]time.Time) error
}

// A Refresher calls the provider. [provider.Client] is the one that serves.
type Refresher interface {
	RefreshTokens(context.Context, *provider.Provider, ath.Secret, ath.Scopes) (provider.Tokens, error)
}

// A TokenJudge asks a provider's userinfo endpoint about an access token.
// [provider.Client] is the one that serves.
type TokenJudge interface {
	JudgeToken(context.Context, *provider.Provider, ath.Secret, ath.Scopes) provider.TokenVerdict
}

// Config configures a [Vault]. Durations are for tests: their defaults fit each
// other.
type Config struct {
	Store Store
	OAuth Refresher
	// Userinfo says of a token that an API has rejected, and that cannot be
	// refreshed, whether it lives; nil: nobody does.
	Userinfo TokenJudge
	Audit    *audit.Log
	Logger   *slog.Logger
	Now      func() time.Time // nil: time.Now
	// Providers are those that are configured now. Work that has waited is done by
	// them, and not by what was configured as it began to wait; nil: by that.
	Providers *provider.Providers
	// Observe, if any, is called with the outcome of each call to a provider, one
	// of [Outcomes], and how long it took.
	Observe func(provider, outcome string, took time.Duration)

	// Lease is how long a dead athd's lease stays. Default 4 s; it is renewed four
	// times as often.
	Lease time.Duration
	// Call is how long a provider's answer is waited for. Default 15 s. What takes
	// longer may have spent the refresh token.
	Call time.Duration
	// Grace is how much longer than Call an attempt without outcome is left alone.
	// Default 5 s.
	Grace time.Duration
	// Settle is how long whoever has the outcome of an earlier attempt gets to
	// store it, before there is another. Default 2 s; it is more than the pause
	// between two tries to store one.
	Settle time.Duration
	// Every is how often is looked for refresh tokens that end while nobody
	// calls. Default 30 s.
	Every time.Duration
	// Wait is how long a decision waits for a new token. Default 400 ms: less than
	// Envoy waits for one of several athd.
	Wait time.Duration
}

const (
	maxFlights = 10_000 // connections that are being refreshed or waited for
	maxCalls   = 64     // calls to one provider at a time
	keepDead   = 24 * time.Hour
	// retryAfter is when a refused token is tried once more.
	retryAfter = 5 * time.Minute
	// writePause is the longest pause between two tries to store an outcome.
	writePause = time.Second
	// patience is how long Redis is waited for before an attempt is given up that
	// has not begun.
	patience = 10 * time.Second
	poll     = 30 * time.Millisecond // of who waits for another athd
	// lastRead is how long an answer is looked for once the call's time is over.
	lastRead = 500 * time.Millisecond
)

// A Vault refreshes tokens. It is safe for concurrent use.
type Vault struct {
	Config
	gates gates

	mu      sync.Mutex
	flights map[ath.Tag]*flight
	closed  bool
	flying  sync.WaitGroup

	schedule schedule

	ctx       context.Context // of all work; ends with Close
	stop      context.CancelFunc
	unwritten atomic.Int64
	calls     atomic.Int64
}

// New returns a Vault. [Vault.Close] ends it.
func New(c Config) (*Vault, error) {
	for name, missing := range map[string]bool{"Store": c.Store == nil, "OAuth": c.OAuth == nil, "Audit": c.Audit == nil, "Logger": c.Logger == nil} {
		if missing {
			return nil, fmt.Errorf("vault: %s is required", name)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observe == nil {
		c.Observe = func(string, string, time.Duration) {}
	}
	for at, otherwise := range map[*time.Duration]time.Duration{
		&c.Lease: 4 * time.Second, &c.Call: 15 * time.Second, &c.Grace: 5 * time.Second, &c.Settle: 2 * writePause, &c.Wait: 400 * time.Millisecond,
		&c.Every: 30 * time.Second,
	} {
		if *at == 0 {
			*at = otherwise
		}
	}
	v := &Vault{Config: c, flights: map[ath.Tag]*flight{}, schedule: schedule{timers: map[ath.Tag]*time.Timer{}}}
	v.ctx, v.stop = context.WithCancel(context.Background())
	return v, nil
}

// Close takes no new work, and waits until what has begun has ended, or ctx does:
// a call that is under way is answered, and its outcome stored.
func (v *Vault) Close(ctx context.Context) {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.schedule.close()
	ended := make(chan struct{})
	go func() {
		v.flying.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	v.stop()
	<-ended
}

// Unwritten is how many new tokens are in memory only, since Redis does not take
// them.
func (v *Vault) Unwritten() int { return int(v.unwritten.Load()) }

// InFlight is how many calls to providers are under way.
func (v *Vault) InFlight() int { return int(v.calls.Load()) }

// BackedOff says of each provider that was asked whether it is left alone now,
// since it gave no tokens several times in a row.
func (v *Vault) BackedOff() map[string]bool { return v.gates.shut(time.Now()) }
