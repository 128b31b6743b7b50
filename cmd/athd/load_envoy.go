package main

import (
	"log/slog"
	"path/filepath"
	"slices"
)

// What Envoy's generated configuration says unless athd.yaml says otherwise.
const (
	defaultEnvoyListen = "0.0.0.0:8080"
	defaultEnvoyAdmin  = "127.0.0.1:9901"
	defaultCAFile      = "/etc/ssl/certs/ca-certificates.crt"
	none               = "none"
	maxTrustedHops     = 10
)

// How athd knows where a request goes (P-3).
const (
	byRoute       = "route"         // the route says so, as the generated configuration's do
	byHostAndPath = "host_and_path" // by athd's own table, where the routes of a mesh say nothing
)

// envoy reads what bootstrap needs. The files that it names are Envoy's to
// read, maybe on another machine, so that nobody looks for them here.
func (l *loader) envoy() {
	c, e := &l.c.Envoy, &l.s.envoy
	e.listen = l.hostPort(c.Listen, defaultEnvoyListen, "envoy", "listen")
	if c.Admin != none {
		e.admin = l.hostPort(c.Admin, defaultEnvoyAdmin, "envoy", "admin")
	}
	e.grpc = l.replicas(c.AthdGRPC, l.s.grpc, "athd_grpc")
	e.http = l.replicas(c.AthdHTTP, l.s.http, "athd_http")
	for i, t := range c.TLS {
		at := []any{"envoy", "tls"}
		if l.doc.Has("envoy", "tls", i) {
			at = append(at, i)
		}
		if t == (envoyTLSFile{}) && len(at) == 2 {
			continue // tls: {}
		}
		if t.CertFile == "" || t.KeyFile == "" {
			l.fail("cert_file and key_file go together", at...)
		}
		e.tls = append(e.tls, envoyTLSFile{CertFile: l.absolute(t.CertFile), KeyFile: l.absolute(t.KeyFile)})
	}
	if c.Hops != nil {
		if e.trustedHops = *c.Hops; e.trustedHops < 0 || e.trustedHops > maxTrustedHops {
			l.fail("want a number from 0 to 10", "envoy", "trusted_hops")
		}
	}
	if e.caFile = l.absolute(c.CAFile); e.caFile == "" {
		e.caFile = defaultCAFile
	}
	switch e.destination = c.Destination; c.Destination {
	case "":
		e.destination = byRoute
	case byRoute, byHostAndPath:
	default:
		l.fail("want route or host_and_path", "envoy", "destination")
	}
	l.athdTLS()
}

// replicas reads where Envoy finds one of athd's listeners: one address for
// each replica. own is that of this athd, which stands for it where nothing is
// said.
func (l *loader) replicas(addresses oneOrMore, own address, key string) []address {
	if len(addresses) == 0 {
		return []address{own.dialled()}
	}
	var all []address
	for i, text := range addresses {
		path := []any{"envoy", key}
		if len(addresses) > 1 {
			path = append(path, i)
		}
		if text == "" {
			l.fail("is empty", path...)
			continue
		}
		a := l.address(text, "", path...)
		switch {
		case slices.Contains(all, a):
			l.fail("is there twice", path...)
		case len(all) > 0 && (a.network == "unix") != (all[0].network == "unix"):
			l.fail("want either Unix sockets only or host:port only", path...)
		}
		all = append(all, a)
	}
	return all
}

// athdTLS is how Envoy authenticates to athd: whole, or not at all.
func (l *loader) athdTLS() {
	c := &l.c.Envoy.AthdTLS
	if *c == (athdTLSFile{}) {
		return
	}
	l.required(c.CertFile, "envoy", "athd_tls", "cert_file")
	l.required(c.KeyFile, "envoy", "athd_tls", "key_file")
	l.required(c.CAFile, "envoy", "athd_tls", "ca_file")
	l.required(c.ServerName, "envoy", "athd_tls", "server_name")
	if l.s.tls == nil && l.c.Listen.TLS.CertFile == "" {
		l.fail("has nothing to talk to: listen.tls is not set", "envoy", "athd_tls")
	}
	l.s.envoy.athdTLS = &athdTLSFile{
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
		l.fail(err.Error(), path...)
	}
	return s
}

// logging reads the form and the level of the log.
func (l *loader) logging() {
	switch l.c.Log.Format {
	case "", "text":
	case "json":
		l.s.log.json = true
	default:
		l.fail("want text or json", "log", "format")
	}
	switch l.c.Log.Level {
	case "debug":
		l.s.log.level = slog.LevelDebug
	case "", "info":
		l.s.log.level = slog.LevelInfo
	case "warn":
		l.s.log.level = slog.LevelWarn
	case "error":
		l.s.log.level = slog.LevelError
	default:
		l.fail("want debug, info, warn or error", "log", "level")
	}
}
