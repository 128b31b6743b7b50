package tokenstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/athd/athd/ath"
)

// access is what a client needs beside the address.
type access struct {
	timeout          time.Duration
	cas              *x509.CertPool // nil: the system's
	certificate      *tls.Certificate
	sentinelUser     string
	sentinelPassword ath.Secret
	fresh            bool // one connection, which is used once
}

// onceEach is for a client that dials each time.
func (a access) onceEach() access {
	a.fresh = true
	return a
}

// onConnect is run on each new connection, and may refuse it.
type onConnect = func(context.Context, *redis.Conn) error

// connect returns a client. It does not dial yet. Whatever the kind, reads go
// to masters only, since a replica may not know yet what was revoked (V-4):
// ReadOnly, ReplicaOnly and the Route options stay off.
func (a address) connect(with access, meet onConnect) redis.UniversalClient {
	single := a.single(with)
	single.OnConnect = meet
	switch {
	case a.master != "":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: a.master, SentinelAddrs: a.addrs,
			SentinelUsername: with.sentinelUser, SentinelPassword: with.sentinelPassword.Reveal(),
			Username: single.Username, Password: single.Password, DB: single.DB, TLSConfig: single.TLSConfig,
			OnConnect: meet, ClientName: single.ClientName, Protocol: single.Protocol, DisableIdentity: true,
			ContextTimeoutEnabled: true,
			DialTimeout:           single.DialTimeout, ReadTimeout: single.ReadTimeout,
			WriteTimeout: single.WriteTimeout, PoolTimeout: single.PoolTimeout,
			MaxRetries: single.MaxRetries, MinRetryBackoff: single.MinRetryBackoff, MaxRetryBackoff: single.MaxRetryBackoff,
			DialerRetries: 1, PipelinePoolSize: -1, ConnMaxIdleTime: single.ConnMaxIdleTime,
			PoolSize: single.PoolSize, ConnMaxLifetime: single.ConnMaxLifetime,
		})
	case a.cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: a.addrs, Username: single.Username, Password: single.Password, TLSConfig: single.TLSConfig,
			ClientName: single.ClientName, Protocol: single.Protocol, DisableIdentity: true,
			ContextTimeoutEnabled: true,
			DialTimeout:           single.DialTimeout, ReadTimeout: single.ReadTimeout,
			WriteTimeout: single.WriteTimeout, PoolTimeout: single.PoolTimeout,
			MaxRetries: single.MaxRetries, MinRetryBackoff: single.MinRetryBackoff, MaxRetryBackoff: single.MaxRetryBackoff,
			DialerRetries: 1, PipelinePoolSize: -1, ConnMaxIdleTime: single.ConnMaxIdleTime,
			MaintNotificationsConfig: single.MaintNotificationsConfig,
		})
	}
	return redis.NewClient(single)
}

func (a address) single(with access) *redis.Options {
	o := &redis.Options{
		Network: a.network, Addr: a.addrs[0], Username: a.user, Password: a.password.Reveal(), DB: a.db,
		ClientName: "athd", Protocol: 2, DisableIdentity: true,
		ContextTimeoutEnabled: true,
		DialTimeout:           with.timeout, ReadTimeout: with.timeout, WriteTimeout: with.timeout, PoolTimeout: with.timeout,
		// One quick retry covers a pooled connection that was closed by the server.
		// Writes are safe to repeat: see the package documentation.
		MaxRetries: 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 8 * time.Millisecond,
		DialerRetries: 1,
		// Every decision is a pipeline: one pool for all, not a small one of their own.
		PipelinePoolSize:         -1,
		ConnMaxIdleTime:          5 * time.Minute,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if with.fresh {
		o.PoolSize, o.ConnMaxLifetime, o.ClientName = 1, time.Nanosecond, "athd-watch"
	}
	if a.tls {
		// Without a ServerName the name is that of the address dialled: with
		// Sentinel, each server's own.
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.host, RootCAs: with.cas}
		if with.certificate != nil {
			o.TLSConfig.Certificates = []tls.Certificate{*with.certificate}
		}
	}
	return o
}
