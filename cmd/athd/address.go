package main

import (
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
)

// An address is where to listen: a Unix socket, or host and port.
type address struct {
	network string // "unix" or "tcp"
	at      string // an absolute path, or host:port; the host may be empty, the port 0
}

// maxSocketPath is what the kernel's sockaddr_un holds.
const maxSocketPath = 107

// parseAddress reads unix:/absolute/path or host:port.
func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
			return address{}, errors.New("want unix: and an absolute path, such as unix:/run/athd/authz.sock")
		case len(path) > maxSocketPath:
			return address{}, errors.New("the path of a Unix socket has at most 107 bytes")
		}
		return address{"unix", path}, nil
	}
	if err := checkHostPort(s); err != nil {
		return address{}, err
	}
	return address{"tcp", s}, nil
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

// private reports whether only this machine can reach the address.
func (a address) private() bool {
	return a.network == "unix" || ath.IsLoopbackAddr(a.at)
}

// anyPort reports whether the system chooses the port.
func (a address) anyPort() bool {
	return a.network == "tcp" && strings.HasSuffix(a.at, ":0")
}

// dialled returns how one on the same machine reaches the address: a
// listener on every interface is met on loopback.
func (a address) dialled() address {
	if a.network == "unix" {
		return a
	}
	host, port, err := net.SplitHostPort(a.at)
	if err != nil {
		return a
	}
	switch ip := net.ParseIP(host); {
	case host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return address{"tcp", net.JoinHostPort(host, port)}
}

// String returns the address as athd.yaml spells it.
func (a address) String() string {
	if a.network == "unix" {
		return "unix:" + a.at
	}
	return a.at
}
