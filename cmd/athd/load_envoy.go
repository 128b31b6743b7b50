package main

import (
	"log/slog"
	"path/filepath"
)

// What Envoy's generated configuration says unless athd.yaml says otherwise.
const (
	defaultEnvoyListen = "0.0.0.0:8080"
	defaultEnvoyAdmin  = "127.0.0.1:9901"
	defaultCAFile      = "/etc/ssl/certs/ca-certificates.crt"
	none               = "none"
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
	e.grpc, e.http = l.s.grpc.dialled(), l.s.http.dialled()
	if c.AthdGRPC != "" {
		e.grpc = l.address(c.AthdGRPC, "", "envoy", "athd_grpc")
	}
	if c.AthdHTTP != "" {
		e.http = l.address(c.AthdHTTP, "", "envoy", "athd_http")
	}
	if e.certFile, e.keyFile = l.absolute(c.TLS.CertFile), l.absolute(c.TLS.KeyFile); (e.certFile == "") != (e.keyFile == "") {
		l.fail("cert_file and key_file go together", "envoy", "tls")
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
