package config

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/watch"
)

const (
	defaultConnections = 4096
	maxCount           = 1_000_000
)

// limits checks what the companion does for whom, and how often agents call. What
// is not said of the former is httpapi's default, and of the latter nothing.
func (l *loader) limits() {
	c := &l.c.Limits
	d := httpapi.DefaultLimits()
	s := &l.s.Limits
	s.PerAddress = l.rate(c.PerAddress, d.PerAddress, "limits", "per_address")
	s.Registrations = l.rate(c.Registrations, d.Registrations, "limits", "registrations_per_address")
	s.PerAgent = l.rate(c.PerAgent, d.PerAgent, "limits", "per_agent")
	l.s.CallsPerGrant = l.rate(c.CallsPerGrant, ratelimit.Unlimited, "limits", "calls_per_grant")
	s.Concurrent = l.count(c.Concurrent, d.Concurrent, 2, "limits", "concurrent")
	s.ConcurrentPerAddress = l.count(c.ConcurrentPerAddress, d.ConcurrentPerAddress, 1, "limits", "concurrent_per_address")
	s.Pending = l.count(c.Pending, d.Pending, 1, "limits", "pending")
	s.PendingPerDomain = l.count(c.PendingPerDomain, d.PendingPerDomain, 1, "limits", "pending_per_domain")
	s.PendingPerAddress = l.count(c.PendingPerAddress, d.PendingPerAddress, 1, "limits", "pending_per_address")
	s.SessionsPerAgent = l.count(c.SessionsPerAgent, d.SessionsPerAgent, 1, "limits", "sessions_per_agent")
	s.ProviderChanges = l.rate(c.ProviderChanges, d.ProviderChanges, "limits", "provider_changes")
	s.RuntimeProviders = l.count(c.RuntimeProviders, d.RuntimeProviders, 1, "limits", "runtime_providers")
	if s.RuntimeProviders > tokenstore.MaxRuntimeProviders {
		l.Fail("want at most "+strconv.Itoa(tokenstore.MaxRuntimeProviders), "limits", "runtime_providers")
	}
	l.s.Connections = l.count(c.Connections, defaultConnections, 1, "limits", "connections")
	streams := watch.DefaultLimits()
	l.s.Streams.PerGrant = l.count(c.Streams.PerGrant, streams.PerGrant, 1, "limits", "streams", "per_grant")
	l.s.Streams.PerAgent = l.count(c.Streams.PerAgent, streams.PerAgent, 1, "limits", "streams", "per_agent")
	l.s.Streams.Total = l.count(c.Streams.Total, streams.Total, 1, "limits", "streams", "total")
	for i, text := range c.EnvoyAddresses {
		p, err := parsePrefix(text)
		if err != nil {
			l.Fail(err.Error(), "limits", "envoy_addresses", i)
			continue
		}
		s.Envoys = append(s.Envoys, p)
	}
	if l.s.HTTP != (Address{}) && !l.s.HTTP.Private() && l.s.TLS == nil && len(c.EnvoyAddresses) == 0 {
		l.warn("listen.http is %s without listen.tls: Envoy's word about its clients' addresses is not believed there, "+
			"and limits.per_address counts all of them as one; say limits.envoy_addresses", l.s.HTTP)
	}
}

// rate reads a rate.
func (l *loader) rate(s string, fallback ratelimit.Rate, path ...any) ratelimit.Rate {
	if s == "" {
		return fallback
	}
	r, err := parseRate(s)
	if err != nil {
		l.Fail(err.Error(), path...)
	}
	return r
}

// parseRate reads a rate such as 20/s, 1200/m or 5000/h, or off.
func parseRate(s string) (ratelimit.Rate, error) {
	if s == "off" {
		return ratelimit.Unlimited, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil || per == 0 || n == 0 || n > maxCount {
		return ratelimit.Rate{}, errors.New("want a rate such as 20/s, 1200/m or 5000/h, or off")
	}
	return ratelimit.Rate{N: int(n), Per: per}, nil
}

// count reads a number of things that may be there at once.
func (l *loader) count(n *int, fallback, least int, path ...any) int {
	if n == nil {
		return fallback
	}
	if *n < least || *n > maxCount {
		l.Fail("want a number from "+strconv.Itoa(least)+" to "+strconv.Itoa(maxCount), path...)
	}
	return *n
}

// parsePrefix reads an address or a network in CIDR notation.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() || p != p.Masked() {
		return netip.Prefix{}, errors.New("want an IP address, or a network such as 10.1.0.0/16")
	}
	return p, nil
}
