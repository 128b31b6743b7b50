package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

const (
	defaultStoreTimeout = 250 * time.Millisecond
	// Bounds of what may be said instead.
	minStoreTimeout = 10 * time.Millisecond
	maxStoreTimeout = 5 * time.Second
	maxReplicas     = 16

	defaultRememberEnded = 24 * time.Hour
	minRememberEnded     = time.Minute
	maxRememberEnded     = 7 * 24 * time.Hour
)

// store checks where state lives and what seals it.
func (l *loader) store() {
	c := &l.c.Store
	key := "url"
	switch inline, file := !c.URL.IsZero(), c.URLFile != ""; {
	case inline && file:
		l.Fail("store.url is given too", "store", "url_file")
	case inline:
		l.s.StoreURL = c.URL.Secret
	case file:
		key = "url_file"
		l.s.StoreURL, _ = l.readSecretFile(c.URLFile, "store", "url_file")
	default:
		l.Fail(`is missing: want redis://host:port/0, or "embedded" to try things out`, "store", "url")
	}
	l.s.Embedded = l.s.StoreURL.Reveal() == tokenstore.Embedded
	if !l.s.StoreURL.IsZero() {
		l.checkStore(key)
	}
	l.keyset()
	if l.s.Embedded {
		l.warn("store.url is embedded: nothing survives a restart, and there can be one athd only")
	}
}

// checkStore lets the store itself judge the URL, and then what depends on it.
func (l *loader) checkStore(key string) {
	url := l.s.StoreURL.Reveal()
	if !l.s.Embedded {
		if err := tokenstore.CheckURL(url); err != nil {
			l.Fail(err.Error(), "store", key)
			return
		}
	}
	kind := tokenstore.KindOf(url)
	if kind.InTheClear {
		l.warn("store.%s leads to another host without TLS: records are sealed, but the password is not; rediss:// is TLS", key)
	}
	if kind.UserOnly {
		l.warn("store.%s has a user and no password, so that athd does not log in: a password alone is written redis://:PASSWORD@host", key)
	}
	l.storeTLS(kind)
	l.storeCertificate(kind)
	l.sentinels(kind)
	l.storeTimes()
}

func (l *loader) storeTLS(kind tokenstore.Kind) {
	c := &l.c.Store
	if c.CAFile == "" {
		return
	}
	if !kind.TLS {
		l.Fail("has no effect: store.url is without TLS", "store", "ca_file")
		return
	}
	if ca, ok := l.readFile(c.CAFile, publicFile, "store", "ca_file"); ok {
		l.s.Store.CAs = x509.NewCertPool()
		if !l.s.Store.CAs.AppendCertsFromPEM(ca) {
			l.Fail("holds no certificate in PEM", "store", "ca_file")
		}
	}
}

// storeCertificate reads what athd shows to a server that wants certificates of
// its clients.
func (l *loader) storeCertificate(kind tokenstore.Kind) {
	c := &l.c.Store
	if c.CertFile == "" && c.KeyFile == "" {
		return
	}
	whole := l.Required(c.CertFile, "store", "cert_file")
	if whole = l.Required(c.KeyFile, "store", "key_file") && whole; !whole {
		return
	}
	if !kind.TLS {
		l.Fail("has no effect: store.url is without TLS", "store", "cert_file")
		return
	}
	cert, okay := l.readFile(c.CertFile, publicFile, "store", "cert_file")
	key, fine := l.readFile(c.KeyFile, privateKeyFile, "store", "key_file")
	if !okay || !fine {
		return
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil { // its words may quote the key
		l.Fail("does not fit its key", "store", "cert_file")
		return
	}
	l.s.Store.Certificate = &pair
}

// sentinels checks the credentials for the Sentinels themselves.
func (l *loader) sentinels(kind tokenstore.Kind) {
	c := &l.c.Store
	for _, given := range []struct {
		is  bool
		key string
	}{
		{c.SentinelUser != "", "sentinel_user"},
		{!c.SentinelPassword.IsZero(), "sentinel_password"},
		{c.SentinelPasswordFile != "", "sentinel_password_file"},
	} {
		if given.is && !kind.Sentinel {
			l.Fail("has no effect: store.url names no Sentinels", "store", given.key)
		}
	}
	l.s.Store.SentinelUser, l.s.Store.SentinelPassword = c.SentinelUser, c.SentinelPassword.Secret
	switch {
	case c.SentinelPasswordFile == "":
	case !c.SentinelPassword.IsZero():
		l.Fail("store.sentinel_password is given too", "store", "sentinel_password_file")
	default:
		l.s.Store.SentinelPassword, _ = l.readSecretFile(c.SentinelPasswordFile, "store", "sentinel_password_file")
	}
	if c.SentinelUser != "" && c.SentinelPassword.IsZero() && c.SentinelPasswordFile == "" {
		l.Fail("wants store.sentinel_password too", "store", "sentinel_user")
	}
}

func (l *loader) storeTimes() {
	c := &l.c.Store
	l.s.Store.RememberEnded = defaultRememberEnded
	if text := l.c.Tokens.RememberEnded; text != "" {
		d, err := ath.ParseDuration(text)
		switch {
		case err != nil:
			l.Fail(err.Error(), "tokens", "remember_ended")
		case d < minRememberEnded || d > maxRememberEnded:
			l.Fail(fmt.Sprintf("want between %v and %v", minRememberEnded, maxRememberEnded), "tokens", "remember_ended")
		}
		l.s.Store.RememberEnded = d
	}
	l.s.Store.Timeout = defaultStoreTimeout
	if c.Timeout != "" {
		d, err := ath.ParseDuration(c.Timeout)
		switch {
		case err != nil:
			l.Fail(err.Error(), "store", "timeout")
		case d < minStoreTimeout || d > maxStoreTimeout:
			l.Fail(fmt.Sprintf("want between %v and %v", minStoreTimeout, maxStoreTimeout), "store", "timeout")
		}
		l.s.Store.Timeout = d
	}
	switch l.s.Store.WaitReplicas = c.WaitReplicas; {
	case c.WaitReplicas < 0 || c.WaitReplicas > maxReplicas:
		l.Fail(fmt.Sprintf("want a number of replicas between 0 and %d", maxReplicas), "store", "wait_replicas")
	case c.WaitReplicas > 0 && l.s.Embedded:
		l.Fail("the embedded store has no replicas", "store", "wait_replicas")
	}
}
