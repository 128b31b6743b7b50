package tokenstore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

const (
	defaultTimeout   = 250 * time.Millisecond // well under what Envoy waits for a decision
	embeddedTimeout  = 900 * time.Millisecond // there is no network that could fail: only this process can be busy
	breakerThreshold = 5                      // failures in a row
	breakerDelay     = 200 * time.Millisecond
)

// A Config says where the store is and how its records are sealed. It prints
// without the URL's user and password.
type Config struct {
	// URL is redis://, rediss:// (TLS 1.2 or newer), redis+cluster:// or
	// rediss+cluster:// (one node, the others are found), redis+sentinel:// or
	// rediss+sentinel:// (Sentinels with commas, and /master-name),
	// unix:///path, each with [user:password@], or [Embedded].
	URL string
	// CAs, with TLS, are who may sign the servers' certificates; default the
	// system's.
	CAs *x509.CertPool
	// Certificate, with TLS, is athd's client certificate, for servers and
	// Sentinels that require one; nil: none.
	Certificate *tls.Certificate
	// SentinelUser and SentinelPassword are for the Sentinels themselves: the
	// URL's are for the servers that they watch.
	SentinelUser     string
	SentinelPassword ath.Secret
	// WaitReplicas, if not 0, is how many replicas of Redis must have a
	// revocation, or a change of an agent, before it is acknowledged. With
	// fewer within half of Timeout it fails with ErrUnavailable, though it was
	// done and may persist.
	WaitReplicas int
	// Keyset is required; the embedded store generates one if there is none.
	Keyset *Keyset
	// Now is the clock that TTLs are computed with; default time.Now.
	Now func() time.Time
	// RememberEnded is how long a grant stays beyond its end, so that a late call
	// is answered that its token has expired or was revoked; after that the token is
	// unknown, and refused as such (P-1). Default 24 hours.
	RememberEnded time.Duration
	// Timeout bounds each operation; default 250 ms, embedded 900 ms.
	Timeout time.Duration
	// Observe, if any, is called for each operation with its name, how long it
	// took and how it failed. It must return quickly.
	Observe func(op string, took time.Duration, err error)
	// Upstream, if any, decides what becomes of users' grants at providers when
	// their connections end; nil: nothing does.
	Upstream UpstreamPolicy
	// Unreadable, if any, is called for each record that was read and did not
	// open, with its kind, one of [SealedKinds], and its key without digests. It
	// must return quickly.
	Unreadable func(record, key string)
	// Logger, if any, gets a line when Redis becomes unavailable and when it is
	// available again.
	Logger *slog.Logger

	compareEvery time.Duration // of the change feed; 0: a second. For tests
}

// Format prints the Config without credentials and keys, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) {
	where := c.URL
	if where != Embedded {
		where = "invalid url"
		if a, err := parseURL(c.URL); err == nil {
			where = a.String()
		}
	}
	fmt.Fprintf(f, "tokenstore.Config(%s)", where)
}

// LogValue is what [Config.Format] prints.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// A Store holds athd's records. It is safe for concurrent use. It prints
// nothing but its address.
type Store struct {
	id       string // at random, of this process: see Announce
	server   *server
	address  address
	embedded *embedded // nil: a server of its own
	keys     keyring
	scripts  scripts
	batcher  *readBatcher
	feed     *feed
	uses     *uses
	upstream UpstreamPolicy // nil: nothing becomes of grants at providers
	unlisted *unlisted

	grants       *decryptCache[Grant]
	connections  *decryptCache[Connection]
	agents       *decryptCache[Agent]
	stopEvicting func() // ends the eviction of idle records from these

	failed  atomic.Pointer[failure] // the last one that the breaker counted
	breaker circuitbreaker.CircuitBreaker[any]
	now     func() time.Time
	timeout time.Duration
	// rememberEnded is how long a grant stays beyond its end.
	rememberEnded time.Duration
	// waitReplicas 0: no write waits.
	waitReplicas int
	noFlags      atomic.Bool // the server does not know the flags of scripts
	// foreign is why the keyset is not the one that what is stored needs, by the
	// last check; nil: it is.
	foreign  atomic.Pointer[foreignError]
	resealed atomic.Bool // the canary was sealed again with the primary key

	observe    func(string, time.Duration, error)
	unreadable func(record, key string)
	log        *slog.Logger
}

// Open checks the Config and returns a Store. It does not need the server to
// be up: athd reconnects by itself, also to a Redis that starts later. Its errors
// never hold the URL's password.
//
// The Redis client has one logger for the whole process: the last Store that
// was opened with a Logger gets its lines, at debug level.
func Open(c Config) (*Store, error) {
	s, with, err := newStore(c)
	if err != nil {
		return nil, err
	}
	if s.server.proves {
		s.server.watch(s.address.connect(with.onceEach(), s.server.checkMoved), s.timeout)
	}
	s.stopEvicting = s.evictPeriodically()
	s.feed.start()
	s.uses = startUses(s)
	return s, nil
}

// newStore is [Open] without what goes on in the background.
func newStore(c Config) (*Store, access, error) {
	s := &Store{
		id: rand.Text(), now: c.Now, timeout: c.Timeout, waitReplicas: c.WaitReplicas, rememberEnded: c.RememberEnded,
		observe: c.Observe, unreadable: c.Unreadable, log: c.Logger, upstream: c.Upstream, unlisted: newUnlisted(),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.rememberEnded == 0 {
		s.rememberEnded = grantLinger
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
		if c.URL == Embedded {
			s.timeout = embeddedTimeout
		}
	}
	if s.unreadable == nil {
		s.unreadable = func(string, string) {}
	}
	if s.observe == nil {
		s.observe = func(string, time.Duration, error) {}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.timeout < time.Millisecond {
		return nil, access{}, errors.New("store timeout is less than a millisecond")
	}
	if s.rememberEnded < 0 {
		return nil, access{}, errors.New("the store cannot remember what has ended for less than no time")
	}
	redis.SetLogger(clientLog{s.log})

	var err error
	if c.URL == Embedded {
		if c.Keyset == nil {
			if c.Keyset, err = NewKeyset(); err != nil {
				return nil, access{}, err
			}
		}
	} else if s.address, err = parseURL(c.URL); err != nil {
		return nil, access{}, err
	}
	switch {
	case c.Keyset.isZero():
		return nil, access{}, errors.New("the store needs a keyset")
	case c.CAs != nil && !s.address.tls:
		return nil, access{}, errors.New("the store has CAs, but its url is without TLS")
	case c.Certificate != nil && !s.address.tls:
		return nil, access{}, errors.New("the store has a certificate, but its url is without TLS")
	case (c.SentinelUser != "" || !c.SentinelPassword.IsZero()) && s.address.master == "":
		return nil, access{}, errors.New("the store has a user or password for Sentinels, but its url names none")
	case c.WaitReplicas < 0 || c.WaitReplicas > 0 && c.URL == Embedded:
		return nil, access{}, errors.New("the store cannot wait for that many replicas")
	}
	if c.URL == Embedded {
		if s.embedded, s.address, err = startEmbedded(s.now); err != nil {
			return nil, access{}, err
		}
	}
	s.keys.current.Store(c.Keyset)
	s.grants, s.connections, s.agents = newDecryptCache(s.openGrant), newDecryptCache[Connection](nil), newDecryptCache(s.openAgent)
	s.scripts = newScripts()
	s.noFlags.Store(s.embedded != nil)
	with := access{
		timeout: s.timeout, cas: c.CAs, certificate: c.Certificate, sentinelUser: c.SentinelUser, sentinelPassword: c.SentinelPassword,
	}
	proves := s.embedded == nil && !s.address.cluster
	s.server = newServer(s.String(), proves, s.log, func(meet onConnect) redis.UniversalClient {
		return s.address.connect(with, meet)
	})
	s.breaker = s.newBreaker()
	s.batcher = newReadBatcher(s.server, s.address.cluster, s.timeout)
	s.feed = newFeed(s, c.compareEvery)
	return s, with, nil
}

// Close closes all connections and stops the embedded server.
func (s *Store) Close() error {
	s.stopEvicting()
	s.uses.finish()
	s.feed.finish()
	err := s.server.close()
	s.feed.running.Wait()
	if s.embedded != nil {
		s.embedded.stop()
	}
	return err
}

// evictPeriodically evicts idle records from the caches until stop is called.
func (s *Store) evictPeriodically() (stop func()) {
	ticker, closed := time.NewTicker(idleTimeout), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				s.grants.evictIdle()
				s.connections.evictIdle()
				s.agents.evictIdle()
			case <-closed:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		ticker.Stop()
		close(closed)
	})
}

// String says where the store is.
func (s *Store) String() string {
	if s.embedded != nil {
		return Embedded
	}
	return s.address.String()
}

// Format prints where the store is, whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) { fmt.Fprint(f, "tokenstore.Store("+s.String()+")") }

// clientLog takes the Redis client's own lines, which would go to stderr. They
// are for debugging: what matters shows in errors and in the breaker.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Printf(ctx context.Context, format string, args ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "redis client: "+fmt.Sprintf(format, args...))
	}
}
