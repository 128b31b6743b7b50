package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/athd/athd/config"
	"github.com/athd/athd/envoy/server"
)

// socketMode lets the group, which Envoy is in, connect to a Unix socket.
const socketMode = 0o660

// listen opens a listener. A Unix socket that an athd left behind is taken
// over; one that somebody answers on is not.
func listen(ctx context.Context, a config.Address) (net.Listener, error) {
	if a.Network == "unix" {
		if err := removeStale(ctx, a.At); err != nil {
			return nil, err
		}
		// The mask, not a chmod afterwards: there is no moment at which others
		// could connect. Nothing else makes files while we start.
		defer syscall.Umask(syscall.Umask(0o777 &^ socketMode))
	}
	return new(net.ListenConfig).Listen(ctx, a.Network, a.At)
}

// removeStale removes a socket at path on which nobody answers.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a missing directory is told when listening
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there, and is not a socket", path)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: another process listens there", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is there, and may be in use: %w", path, err)
	}
	return os.Remove(path)
}

// where returns a listener's address as athd.yaml would spell it.
func where(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// newHTTPServer returns a server that no client can keep waiting, or make
// wait, for long. The longest that a handler takes is well below 30 seconds.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10, // what Envoy takes: a callback brings an authorization code of up to 16 KiB, percent-encoded
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// withTLS wraps the companion's listener: the same clients may speak to it as
// to gRPC. Without TLS it returns l itself.
func withTLS(clients *server.Clients, l net.Listener) net.Listener {
	if clients == nil {
		return l
	}
	return tls.NewListener(clients.Listener(l), clients.Config("h2", "http/1.1"))
}
