package tokenstore

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
)

// Embedded is the URL of the store inside this process.
const Embedded = "embedded"

// An address is a parsed store URL:
//
//	redis://[user:password@]host[:port][/db]      rediss:// with TLS
//	redis+cluster://[user:password@]host[:port]   one node of a Redis Cluster; rediss+cluster:// with TLS
//	redis+sentinel://[user:password@]host[:port][,host[:port]...]/master-name[/db]
//	                                              Sentinels, and what they call the master; rediss+sentinel:// with TLS
//	unix://[user:password@]/path/to/socket[?db=n]
//
// It is parsed here, because the errors of every parser quote their input, and
// that holds a password.
type address struct {
	scheme       string
	network      string
	addrs        []string // one, but for Sentinel
	host         string   // for TLS; not for Sentinel
	master       string   // for Sentinel only: the name of the master
	user         string
	password     ath.Secret
	db           int
	tls, cluster bool
}

func parseURL(raw string) (address, error) {
	raw, more := cutSentinels(raw)
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
	case "redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel":
		a.tls = strings.HasPrefix(u.Scheme, "rediss")
		a.cluster = strings.HasSuffix(u.Scheme, "+cluster")
		if u.RawQuery != "" || u.ForceQuery {
			return address{}, fmt.Errorf("store url takes no parameters with %s://", u.Scheme)
		}
		if strings.HasSuffix(u.Scheme, sentinelSuffix) {
			if err := a.sentinels(u, more); err != nil {
				return address{}, err
			}
			_, db, _ = strings.Cut(db, "/")
			break
		}
		addr, err := hostPort(u, "6379")
		if err != nil {
			return address{}, err
		}
		a.host, a.addrs = u.Hostname(), []string{addr}
	case "unix":
		if u.Host != "" || u.Path == "" || u.Path == "/" {
			return address{}, errors.New("store url must be unix:///path/to/socket")
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(query) > 1 || len(query) == 1 && len(query["db"]) != 1 {
			return address{}, errors.New("store url takes no parameter but db with unix://")
		}
		a.network, a.addrs, db = "unix", []string{u.Path}, query.Get("db")
	default:
		return address{}, errors.New(`store url must start with redis://, rediss://, redis+cluster://, rediss+cluster://, ` +
			`redis+sentinel://, rediss+sentinel:// or unix://, or be "embedded"`)
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

func hostPort(u *url.URL, fallback string) (string, error) {
	if u.Hostname() == "" {
		return "", errors.New("store url has no host")
	}
	port := cmp.Or(u.Port(), fallback)
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("store url has no valid port")
	}
	return net.JoinHostPort(u.Hostname(), port), nil
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

// Kind is what a store URL leads to, as far as other settings depend on it.
type Kind struct {
	TLS, Sentinel bool
	// InTheClear: it leads to another host without TLS, so that the password can
	// be read on the network.
	InTheClear bool
	// UserOnly: it has a user and no password, so that athd does not log in.
	// Perhaps the user is meant to be the password.
	UserOnly bool
}

// KindOf returns the zero Kind for [Embedded] and for what [CheckURL] refuses.
func KindOf(raw string) Kind {
	a, err := parseURL(raw)
	if err != nil {
		return Kind{}
	}
	k := Kind{TLS: a.tls, Sentinel: a.master != "", UserOnly: a.user != "" && a.password.IsZero()}
	for _, addr := range a.addrs {
		if host, _, err := net.SplitHostPort(addr); a.network == "tcp" && (err != nil || !ath.IsLoopbackHost(host)) {
			k.InTheClear = !a.tls
		}
	}
	return k
}

// String is the URL without user and password.
func (a address) String() string {
	where := a.scheme + "://" + strings.Join(a.addrs, ",")
	if a.master != "" {
		where += "/" + a.master
	}
	return where
}
