package config

import (
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
)

// An Address is where to listen: a Unix socket, or host and port.
type Address struct {
	Network string // "unix" or "tcp"
	At      string // an absolute path, or host:port; the host may be empty, the port 0
}

// maxSocketPath is what the kernel's sockaddr_un holds.
const maxSocketPath = 107

// ParseAddress reads unix:/absolute/path or host:port.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
			return Address{}, errors.New("want unix: and an absolute path, such as unix:/run/athd/authz.sock")
		case len(path) > maxSocketPath:
			return Address{}, errors.New("the path of a Unix socket has at most 107 bytes")
		}
		return Address{"unix", path}, nil
	}
	if err := checkHostPort(s); err != nil {
		return Address{}, err
	}
	return Address{"tcp", s}, nil
}

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || strings.ContainsAny(host, "/ %\t") {
		return errors.New("want host:port, such as 127.0.0.1:9000")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("want a port between 0 and 65535")
	}
	return nil
}

// Private reports whether only this machine can reach the address.
func (a Address) Private() bool {
	return a.Network == "unix" || ath.IsLoopbackAddr(a.At)
}

// AnyPort reports whether the system chooses the port.
func (a Address) AnyPort() bool {
	return a.Network == "tcp" && strings.HasSuffix(a.At, ":0")
}

// Dialable returns how a process on the same machine reaches the address: a
// listener on every interface is met on loopback.
func (a Address) Dialable() Address {
	if a.Network == "unix" {
		return a
	}
	host, port, err := net.SplitHostPort(a.At)
	if err != nil {
		return a
	}
	switch ip := net.ParseIP(host); {
	case host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return Address{"tcp", net.JoinHostPort(host, port)}
}

// String returns the address as athd.yaml spells it.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.At
	}
	return a.At
}
