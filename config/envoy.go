package config

import (
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/athd/athd/ath"
)

// What Envoy's generated configuration says unless athd.yaml says otherwise.
const (
	defaultEnvoyListen = "0.0.0.0:8080"
	defaultEnvoyAdmin  = "127.0.0.1:9901"
	defaultCAFile      = "/etc/ssl/certs/ca-certificates.crt"
	none               = "none"
	maxTrustedHops     = 10
)

// EnvoySettings.Destination: how athd knows where a request goes (P-3).
const (
	DestinationByRoute       = "route"         // the route says so, as the generated configuration's do
	DestinationByHostAndPath = "host_and_path" // by athd's own table, where the routes of a mesh say nothing
)

// envoy reads what bootstrap needs. The files that it names are Envoy's to
// read, maybe on another machine, so that nobody looks for them here.
func (l *loader) envoy() {
	c, e := &l.c.Envoy, &l.s.Envoy
	e.Listen = l.hostPort(c.Listen, defaultEnvoyListen, "envoy", "listen")
	if c.Admin != none {
		e.Admin = l.hostPort(c.Admin, defaultEnvoyAdmin, "envoy", "admin")
		if e.Admin != "" && !ath.IsLoopbackAddr(e.Admin) {
			l.warn("envoy.admin is %s: whoever reaches it can end Envoy, and have users' tokens written to its log", e.Admin)
		}
	}
	e.GRPC = l.replicas(c.AthdGRPC, l.s.GRPC, "athd_grpc")
	e.HTTP = l.replicas(c.AthdHTTP, l.s.HTTP, "athd_http")
	for i, t := range c.TLS {
		at := []any{"envoy", "tls"}
		if l.Doc.Has("envoy", "tls", i) {
			at = append(at, i)
		}
		if t == (CertificateFiles{}) && len(at) == 2 {
			continue // tls: {}
		}
		if t.CertFile == "" || t.KeyFile == "" {
			l.Fail("cert_file and key_file go together", at...)
		}
		e.TLS = append(e.TLS, CertificateFiles{CertFile: l.absolute(t.CertFile), KeyFile: l.absolute(t.KeyFile)})
	}
	if c.Hops != nil {
		if e.TrustedHops = *c.Hops; e.TrustedHops < 0 || e.TrustedHops > maxTrustedHops {
			l.Fail("want a number from 0 to 10", "envoy", "trusted_hops")
		}
	}
	if e.CAFile = l.absolute(c.CAFile); e.CAFile == "" {
		e.CAFile = defaultCAFile
	}
	switch e.Destination = c.Destination; c.Destination {
	case "":
		e.Destination = DestinationByRoute
	case DestinationByRoute, DestinationByHostAndPath:
	default:
		l.Fail("want route or host_and_path", "envoy", "destination")
	}
	// A mesh's routes check no address to which a provider's host name leads.
	e.RuntimeProviders = e.Destination == DestinationByRoute
	if c.Runtime != nil {
		e.RuntimeProviders = *c.Runtime
	}
	if e.RuntimeProviders && e.Destination == DestinationByHostAndPath {
		l.warn("envoy.runtime_providers with envoy.destination host_and_path: neither Istio nor Envoy Gateway checks the address to which a provider's host name leads; the routes, the guard and that check are yours to write")
	}
	e.ByExtProc = l.second(c.Filter, FilterExtAuthz, FilterExtProc, "filter")
	e.WatchesStreams = l.second(c.Streams, StreamsBounded, StreamsWatched, "streams")
	e.KeepsStreams = l.second(c.OnLoss, OnLossEnd, OnLossKeep, "streams_on_loss")
	if e.KeepsStreams && !e.WatchesStreams {
		l.Fail("keep is for streams: watched", "envoy", "streams_on_loss")
	}
	if e.KeepsStreams && e.Destination == DestinationByHostAndPath {
		l.warn("envoy.streams_on_loss keep with envoy.destination host_and_path: where a route has no duration from athd, as Istio's have none, a stream that is kept when athd goes never ends; leave it at end, or bound the routes' streams yourself")
	}
	e.ChecksReplies = l.second(c.Replies, RepliesCleared, RepliesChecked, "replies")
	l.athdTLS()
}

// second reads a key below envoy that has two values, of which the first is the
// default, and reports whether it is the second.
func (l *loader) second(value, first, second, key string) bool {
	if value != "" && value != first && value != second {
		l.Fail("want "+first+" or "+second, "envoy", key)
	}
	return value == second
}

// replicas reads where Envoy finds one of athd's listeners: one address for
// each replica. own is that of this athd, which stands for it where nothing is
// said.
func (l *loader) replicas(addresses oneOrMore, own Address, key string) []Address {
	if len(addresses) == 0 {
		return []Address{own.Dialable()}
	}
	var all []Address
	for i, text := range addresses {
		path := []any{"envoy", key}
		if len(addresses) > 1 {
			path = append(path, i)
		}
		if text == "" {
			l.Fail("is empty", path...)
			continue
		}
		a := l.address(text, "", path...)
		switch {
		case slices.Contains(all, a):
			l.Fail("is there twice", path...)
		case len(all) > 0 && (a.Network == "unix") != (all[0].Network == "unix"):
			l.Fail("want either Unix sockets only or host:port only", path...)
		}
		all = append(all, a)
	}
	return all
}

// athdTLS is how Envoy authenticates to athd: whole, or not at all.
func (l *loader) athdTLS() {
	c := &l.c.Envoy.AthdTLS
	if *c == (ClientTLSFiles{}) {
		return
	}
	l.Required(c.CertFile, "envoy", "athd_tls", "cert_file")
	l.Required(c.KeyFile, "envoy", "athd_tls", "key_file")
	l.Required(c.CAFile, "envoy", "athd_tls", "ca_file")
	l.Required(c.ServerName, "envoy", "athd_tls", "server_name")
	if l.s.TLS == nil && l.c.Listen.TLS.CertFile == "" {
		l.Fail("has nothing to talk to: listen.tls is not set", "envoy", "athd_tls")
	}
	l.s.Envoy.AthdTLS = &ClientTLSFiles{
		CertFile: l.absolute(c.CertFile), KeyFile: l.absolute(c.KeyFile),
		CAFile: l.absolute(c.CAFile), ServerName: c.ServerName,
	}
}

// absolute resolves a path for Envoy, whose working directory is another one.
func (l *loader) absolute(path string) string {
	if path == "" {
		return ""
	}
	abs, err := filepath.Abs(l.resolve(path))
	if err != nil {
		return l.resolve(path)
	}
	return abs
}

func (l *loader) hostPort(s, fallback string, path ...any) string {
	if s == "" {
		s = fallback
	}
	if err := checkHostPort(s); err != nil {
		l.Fail(err.Error(), path...)
	}
	return s
}

// logging reads the form and the level of the log.
func (l *loader) logging() {
	switch l.c.Log.Format {
	case "", "text":
	case "json":
		l.s.Log.JSON = true
	default:
		l.Fail("want text or json", "log", "format")
	}
	switch l.c.Log.Level {
	case "debug":
		l.s.Log.Level = slog.LevelDebug
	case "", "info":
		l.s.Log.Level = slog.LevelInfo
	case "warn":
		l.s.Log.Level = slog.LevelWarn
	case "error":
		l.s.Log.Level = slog.LevelError
	default:
		l.Fail("want debug, info, warn or error", "log", "level")
	}
}
