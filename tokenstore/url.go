package tokenstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/athd/athd/ath"
)

// Embedded is the URL of the store that lives inside of this process.
const Embedded = "embedded"

// An address is a parsed store URL:
//
//	redis://[user:password@]host[:port][/db]      rediss:// with TLS
//	redis+cluster://[user:password@]host[:port]   one node of a Redis Cluster; rediss+cluster:// with TLS
//	unix://[user:password@]/path/to/socket[?db=n]
//
// It is read by hand, because every parser's errors quote what they were
// given, and that holds a password.
type address struct {
	scheme        string
	network, addr string
	host          string // for TLS
	user          string
	password      ath.Secret
	db            int
	tls, cluster  bool
}

func parseURL(raw string) (address, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, errors.New("store url is not a URL (a password in it must be percent-encoded)")
	}
	a := address{scheme: u.Scheme, network: "tcp"}
	if u.User != nil {
		a.user = u.User.Username()
		password, _ := u.User.Password()
		a.password = ath.NewSecret(password)
	}
	if u.Fragment != "" {
		return address{}, errors.New("store url has a fragment (a password in it must be percent-encoded)")
	}
	db := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss", "redis+cluster", "rediss+cluster":
		a.tls = strings.HasPrefix(u.Scheme, "rediss")
		a.cluster = strings.HasSuffix(u.Scheme, "+cluster")
		if a.host = u.Hostname(); a.host == "" {
			return address{}, errors.New("store url has no host")
		}
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return address{}, errors.New("store url has no valid port")
		}
		if u.RawQuery != "" || u.ForceQuery {
			return address{}, fmt.Errorf("store url takes no parameters with %s://", u.Scheme)
		}
		a.addr = net.JoinHostPort(a.host, port)
	case "unix":
		if u.Host != "" || u.Path == "" || u.Path == "/" {
			return address{}, errors.New("store url must be unix:///path/to/socket")
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(query) > 1 || len(query) == 1 && len(query["db"]) != 1 {
			return address{}, errors.New("store url takes no parameter but db with unix://")
		}
		a.network, a.addr, db = "unix", u.Path, query.Get("db")
	default:
		return address{}, errors.New(`store url must start with redis://, rediss://, redis+cluster://, rediss+cluster:// or unix://, or be "embedded"`)
	}
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			return address{}, errors.New("the database in store url is not a small number")
		}
		if a.db = int(n); a.cluster && n != 0 {
			return address{}, errors.New("store url names a database, but a Redis Cluster has none")
		}
	}
	return a, nil
}

// CheckURL reports whether [Open] would take this URL. Its errors never hold
// the password.
func CheckURL(raw string) error {
	if raw == Embedded {
		return nil
	}
	_, err := parseURL(raw)
	return err
}

// String is the URL without user and password.
func (a address) String() string {
	if a.network == "unix" {
		return "unix://" + a.addr
	}
	return a.scheme + "://" + a.addr
}

// connect returns a client. It does not dial yet.
func (a address) connect(timeout time.Duration) redis.UniversalClient {
	single := &redis.Options{
		Network: a.network, Addr: a.addr, Username: a.user, Password: a.password.Reveal(), DB: a.db,
		ClientName: "athd", Protocol: 2, DisableIdentity: true,
		ContextTimeoutEnabled: true,
		DialTimeout:           timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout,
		// One quick second try helps over a connection that died in the pool.
		// Writes are safe to repeat: see the package documentation.
		MaxRetries: 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 8 * time.Millisecond,
		DialerRetries: 1,
		// Every decision is a pipeline: one pool for all, not a small one of their own.
		PipelinePoolSize:         -1,
		ConnMaxIdleTime:          5 * time.Minute,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if a.tls {
		single.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.host}
	}
	if !a.cluster {
		return redis.NewClient(single)
	}
	// Reads go to masters: ReadOnly and the Route options stay off, since a
	// replica may not know yet what was revoked (V-4).
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{a.addr}, Username: a.user, Password: a.password.Reveal(), TLSConfig: single.TLSConfig,
		ClientName: single.ClientName, Protocol: single.Protocol, DisableIdentity: true,
		ContextTimeoutEnabled: true,
		DialTimeout:           timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout,
		MaxRetries: single.MaxRetries, MinRetryBackoff: single.MinRetryBackoff, MaxRetryBackoff: single.MaxRetryBackoff,
		DialerRetries: 1, PipelinePoolSize: -1, ConnMaxIdleTime: single.ConnMaxIdleTime,
		MaintNotificationsConfig: single.MaintNotificationsConfig,
	})
}
