package ath

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A Host is a host name or IP address, perhaps with a port, in the one form in
// which it is compared: lower case, without the dot of the root, an IP address
// as RFC 5952 writes it, an internationalised name as its A-labels (RFC 5890),
// a port without leading zeros. Hosts are equal when they are ==. The zero
// value is no host.
type Host struct {
	name string // an IPv6 address without brackets
	port uint16 // 0: none
}

const (
	maxNameBytes  = 253 // of a host name (RFC 1035, section 2.3.4), without the dot of the root
	maxLabelBytes = 63
	aceHead       = "xn--" // starts an A-label
)

// ParseHost reads host[:port] in any spelling that DNS, browsers and proxies treat
// as the same name: upper case and the trailing dot are normalized. An error is
// returned for what some of them read as an address and others as a name (127.1,
// 0x7f000001, 010.0.0.1), an IPv4 address inside of an IPv6 one, a zone, and
// characters that no name may have. Errors contain nothing of s.
func ParseHost(s string) (Host, error) {
	name, port := s, ""
	var explicit bool
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return Host{}, errors.New("a bracket is not closed")
		}
		name = s[1:end]
		if port, explicit = strings.CutPrefix(s[end+1:], ":"); !explicit && s[end+1:] != "" {
			return Host{}, errors.New("what follows the bracket is no port")
		}
	} else if before, after, ok := strings.Cut(s, ":"); ok {
		name, port, explicit = before, after, true
	}
	h := Host{}
	var err error
	if explicit {
		if h.port, err = parsePort(port); err != nil {
			return Host{}, err
		}
	}
	if strings.HasPrefix(s, "[") {
		h.name, err = parseIPv6(name)
	} else {
		h.name, err = parseName(name)
	}
	if err != nil {
		return Host{}, err
	}
	return h, nil
}

// ParseCanonicalHost is [ParseHost] for a host that must be written in its one
// form: the error says what is not, and how it is written.
func ParseCanonicalHost(s string) (Host, error) {
	h, err := ParseHost(s)
	if err != nil {
		return Host{}, err
	}
	if h.String() == s {
		return h, nil
	}
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); h.port != 0 {
		name, port = s[:i], s[i+1:]
	}
	switch {
	case strings.HasPrefix(s, "[") && name != "["+h.name+"]":
		return Host{}, fmt.Errorf("the address is not written in its one form, [%s]", h.name)
	case name != strings.ToLower(name):
		return Host{}, errors.New("the host contains upper-case letters: write it in lower case")
	case strings.HasSuffix(name, "."):
		return Host{}, errors.New("the host ends in a dot: leave it out")
	case port != strconv.Itoa(int(h.port)):
		return Host{}, errors.New("the port has leading zeros: leave them out")
	}
	return Host{}, errors.New("the host is not written in its one form")
}

// MustParseHosts is [ParseHost] for hosts in the program itself. It panics if one is
// invalid.
func MustParseHosts(all ...string) []Host {
	var out []Host
	for _, s := range all {
		h, err := ParseHost(s)
		if err != nil {
			panic(fmt.Sprintf("%q is no host: %v", s, err))
		}
		out = append(out, h)
	}
	return out
}

// HostOf returns the host of a URL as it is compared: without the port where
// that is the scheme's own, as in https://a.example:443.
func HostOf(u *url.URL) (Host, error) {
	h, err := ParseHost(u.Host)
	if err == nil && h.port == defaultPort(u.Scheme) {
		h.port = 0
	}
	return h, err
}

func defaultPort(scheme string) uint16 {
	switch scheme {
	case "https":
		return 443
	case "http", "h2c":
		return 80
	}
	return 0
}

// RequestedHost reads the host of a request as Envoy compares it with those of its
// routes: ignoring case, a trailing dot and whatever is in the place of a port, and
// otherwise byte by byte. What is no host, such as two that were joined by a comma,
// is the zero Host.
func RequestedHost(s string) Host {
	h, err := ParseHost(s)
	if i := strings.LastIndexByte(s, ':'); err != nil && i > strings.LastIndexByte(s, ']') {
		h, err = ParseHost(s[:i])
	}
	if err != nil {
		return Host{}
	}
	h = h.WithoutPort()
	if name := h.String(); !strings.EqualFold(name, s[:min(len(name), len(s))]) {
		return Host{} // an address in another spelling
	}
	return h
}

// RequestedHostOf returns the host that requests to a URL name, as [RequestedHost]
// reads it; the zero Host if there is none.
func RequestedHostOf(rawURL string) Host {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Host{}
	}
	return RequestedHost(u.Host)
}

// String returns host[:port], an IPv6 address in brackets; "" for no host.
func (h Host) String() string {
	switch {
	case h.port != 0:
		return net.JoinHostPort(h.name, strconv.Itoa(int(h.port)))
	case strings.IndexByte(h.name, ':') >= 0:
		return "[" + h.name + "]"
	}
	return h.name
}

// IsZero reports whether h is no host.
func (h Host) IsZero() bool { return h.name == "" }

// Name returns the host without its port, an IPv6 address without brackets.
func (h Host) Name() string { return h.name }

// Port returns the port, 0 if there is none.
func (h Host) Port() uint16 { return h.port }

// WithoutPort returns the host alone.
func (h Host) WithoutPort() Host { return Host{name: h.name} }

// IsAddr reports whether the host is an IP address.
func (h Host) IsAddr() bool {
	_, err := netip.ParseAddr(h.name)
	return err == nil
}

// MarshalText returns [Host.String].
func (h Host) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is [ParseHost].
func (h *Host) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHost(string(text))
	return err
}

func parsePort(s string) (uint16, error) {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, errors.New("the port is not a number")
		}
		n = min(10*n+int(s[i]-'0'), 1<<16)
	}
	if n == 0 || n >= 1<<16 {
		return 0, errors.New("the port is not between 1 and 65535")
	}
	return uint16(n), nil
}

func parseIPv6(s string) (string, error) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil || !addr.Is6():
		return "", errors.New("what stands in brackets is not an IPv6 address")
	case addr.Zone() != "":
		return "", errors.New("an address with a zone means something on one machine only")
	case addr.Is4In6():
		return "", errors.New("an IPv4 address must be written as one")
	}
	return addr.String(), nil
}

// parseName reads what stands without brackets: a name, or an IPv4 address.
func parseName(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxNameBytes {
		return "", errors.New("the host is missing or too long")
	}
	name := s
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x80:
			return "", errors.New("an internationalised host must be written as its A-labels, which start with xn--")
		case 'A' <= c && c <= 'Z':
			name = strings.ToLower(s)
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_':
		default:
			return "", errors.New("the host contains a character that is not allowed in a host")
		}
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "", errors.New("the host has an empty label")
		case len(label) > maxLabelBytes:
			return "", errors.New("the host has a label of more than 63 characters")
		case label[0] == '-' || label[len(label)-1] == '-':
			return "", errors.New("the host has a label that starts or ends with a hyphen")
		}
		if code, ok := strings.CutPrefix(label, aceHead); ok {
			if _, ok := decodeLabel(code); !ok {
				return "", errors.New("the host has a label that starts with xn-- and is no A-label")
			}
		}
		last = label
	}
	// Of a host whose last label is a number, resolvers and browsers make an
	// address, in more ways than one (RFC 3986, section 7.4).
	if isNumber(last) {
		if addr, err := netip.ParseAddr(name); err != nil || !addr.Is4() {
			return "", errors.New("the host is a number: an IPv4 address has four decimal parts without leading zeros")
		}
	}
	return name, nil
}

// isNumber reports whether a label could be a part of an address: decimal,
// octal or hexadecimal.
func isNumber(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	for i := range len(digits) {
		c := digits[i]
		if !('0' <= c && c <= '9' || hex && 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}
