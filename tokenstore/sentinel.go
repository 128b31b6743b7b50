package tokenstore

import (
	"errors"
	"net/url"
	"strings"
)

const sentinelSuffix = "+sentinel"

// cutSentinels takes all but the first host out of a Sentinel URL, because a
// URL has one host.
func cutSentinels(raw string) (one string, more []string) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || !strings.HasSuffix(scheme, sentinelSuffix) {
		return raw, nil
	}
	// A password with a bare slash or comma would be cut too; its parts then
	// fail as hosts, and no error shows them.
	authority, path, _ := strings.Cut(rest, "/")
	user := ""
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, authority = authority[:at+1], authority[at+1:]
	}
	hosts := strings.Split(authority, ",")
	return scheme + "://" + user + hosts[0] + "/" + path, hosts[1:]
}

// sentinels reads the hosts and the path of a Sentinel URL.
func (a *address) sentinels(u *url.URL, more []string) error {
	addr, err := hostPort(u, "26379")
	if err != nil {
		return err
	}
	a.addrs = []string{addr}
	for _, host := range more {
		other, err := url.Parse("//" + host)
		if err != nil || other.User != nil || other.Path != "" || other.RawQuery != "" || other.ForceQuery || other.Fragment != "" {
			return errors.New("store url has a Sentinel that is not host:port (a password in it must be percent-encoded)")
		}
		if addr, err = hostPort(other, "26379"); err != nil {
			return err
		}
		a.addrs = append(a.addrs, addr)
	}
	a.master, _, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if a.master == "" {
		return errors.New("store url names no master: want redis+sentinel://host:port,host:port/master-name")
	}
	for _, c := range []byte(a.master) { // what Sentinel allows
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(".-_", c) >= 0) {
			return errors.New("the master's name in store url holds a character other than letters, digits, '.', '-' and '_'")
		}
	}
	return nil
}
