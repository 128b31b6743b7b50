package ath

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// MaxAgentIDBytes is the longest agent_id that is accepted.
const MaxAgentIDBytes = 2048

// An AgentID names an agent by the URL at which it publishes its identity
// document. Two ids are the same agent only when they are equal byte for byte
// . The zero value is no agent.
type AgentID struct {
	id     string
	origin string
	host   Host
}

// ParseAgentID checks an agent_id as R-3 wants it: an absolute https URL with
// a host in its one form, without userinfo and fragment, at most
// [MaxAgentIDBytes] long. Another spelling of the host is refused, not normalized:
// the domain that a user reads must be the one that was checked, and one agent must
// not have many ids. With allowHTTP (a development option) http is accepted too.
func ParseAgentID(s string, allowHTTP bool) (AgentID, error) {
	if s == "" {
		return AgentID{}, errors.New("agent_id is missing")
	}
	if len(s) > MaxAgentIDBytes {
		return AgentID{}, fmt.Errorf("agent_id is longer than %d bytes", MaxAgentIDBytes)
	}
	// url.Parse is lenient: what it would repair or ignore is refused first, so
	// that every reader sees the same id.
	if !ValidURLBytes(s) {
		return AgentID{}, errors.New("agent_id contains a character that is not allowed in a URL")
	}
	if strings.Contains(s, "#") {
		return AgentID{}, errors.New("agent_id has a fragment")
	}
	u, err := url.Parse(s)
	if err != nil {
		return AgentID{}, errors.New("agent_id is not a URL")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && allowHTTP:
	case u.Scheme == "http":
		return AgentID{}, errors.New("agent_id must be an https URL")
	default:
		return AgentID{}, errors.New("agent_id is not an absolute https URL")
	}
	if u.Opaque != "" || u.Host == "" || u.Hostname() == "" {
		return AgentID{}, errors.New("agent_id has no host")
	}
	if u.User != nil {
		return AgentID{}, errors.New("agent_id contains user information")
	}
	// What a parser decodes or repairs (an escaped host, an address with a zone, a
	// scheme in upper case) would be shown otherwise than it was written.
	if strings.Contains(u.Host, "%") || !strings.HasPrefix(s, u.Scheme+"://"+u.Host) || strings.HasSuffix(u.Host, ":") {
		return AgentID{}, errors.New("agent_id's scheme and host must be written plainly")
	}
	host, err := ParseCanonicalHost(u.Host)
	if err == nil && host.Port() != 0 && host.Port() == defaultPort(u.Scheme) {
		err = errors.New("the port is the one that " + u.Scheme + " has anyway: leave it out")
	}
	if err != nil {
		return AgentID{}, fmt.Errorf("agent_id's host is not in canonical form: %w", err)
	}
	return AgentID{id: s, origin: u.Scheme + "://" + u.Host, host: host}, nil
}

// String returns the id as the agent wrote it, or "" for the zero value.
func (a AgentID) String() string { return a.id }

// IsZero reports whether a is no agent.
func (a AgentID) IsZero() bool { return a.id == "" }

// Origin returns scheme://host[:port] of the id: the other value that an
// attestation's iss may have.
func (a AgentID) Origin() string { return a.origin }

// Host returns the host of the id, with its port: what a consent page
// shows (Z-5).
func (a AgentID) Host() Host { return a.host }

// AgentHost returns the host of an agent id that was accepted by this or an earlier
// version; the zero Host if it cannot be read.
func AgentHost(agentID string) Host {
	u, err := url.Parse(agentID)
	if err != nil {
		return Host{}
	}
	h, _ := HostOf(u)
	return h
}

// IsLoopbackHost reports whether host (without a port) is localhost or a
// loopback address literal.
func IsLoopbackHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	return IsLoopbackIP(host)
}

// IsLoopbackIP reports whether host (without a port) is a loopback address
// literal, of either family (RFC 8252, section 7.3).
func IsLoopbackIP(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// IsLoopbackAddr reports whether a host:port listen address accepts
// connections from this machine only. An empty host, which means every
// interface, does not.
func IsLoopbackAddr(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	return err == nil && host != "" && IsLoopbackHost(host)
}
