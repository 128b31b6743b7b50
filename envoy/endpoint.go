package envoy

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
)

// An Endpoint is one address that Envoy dials or listens on.
type Endpoint struct {
	Path string // of a Unix socket
	Host string
	Port uint32
}

// ParseEndpoint reads "unix:/path" or host:port as an address to dial.
func ParseEndpoint(s string) (Endpoint, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return Endpoint{}, fmt.Errorf("%q: the path of a Unix socket must be absolute", s)
		}
		return Endpoint{Path: path}, nil
	}
	e, err := ParseHostPort(s)
	if err == nil && e.Port == 0 {
		err = fmt.Errorf("%q has no port that can be dialled", s)
	}
	switch e.Host {
	case "", "0.0.0.0":
		e.Host = "127.0.0.1"
	case "::":
		e.Host = "::1"
	}
	return e, err
}

// ParseHostPort reads host:port as an address to listen at; the host may be empty.
func ParseHostPort(s string) (Endpoint, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Endpoint{}, fmt.Errorf("%q is not host:port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Endpoint{}, fmt.Errorf("%q has no port number", s)
	}
	return Endpoint{Host: host, Port: uint32(n)}, nil
}

// TargetPort returns the port of an http or https URL.
func TargetPort(u *url.URL) uint32 {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint32(n)
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

// Static reports whether the endpoint needs no name lookup.
func (e Endpoint) Static() bool { return e.Path != "" || IsIP(e.Host) }

// IsIP reports whether a host is an address and no name.
func IsIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Same reports whether two endpoints are one place. Names of this host are one.
func (e Endpoint) Same(other Endpoint) bool {
	if e.Path != "" || other.Path != "" {
		return e.Path == other.Path
	}
	return e.Port == other.Port && (SameName(e.Host, other.Host) || ath.IsLoopbackHost(e.Host) && ath.IsLoopbackHost(other.Host))
}

// SameName compares names or addresses, without ports and brackets.
func SameName(a, b string) bool {
	one, err := ath.ParseHost(bracketed(a))
	other, err2 := ath.ParseHost(bracketed(b))
	return a == b || err == nil && err2 == nil && one == other
}

func bracketed(name string) string {
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

func (e Endpoint) String() string {
	if e.Path != "" {
		return "unix:" + e.Path
	}
	return net.JoinHostPort(e.Host, strconv.FormatUint(uint64(e.Port), 10))
}
