package main

import (
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// store checks where state lives and what seals it.
func (l *loader) store() {
	c := &l.c.Store
	key := "url"
	switch inline, file := !c.URL.IsZero(), c.URLFile != ""; {
	case inline && file:
		l.fail("store.url is given too", "store", "url_file")
	case inline:
		l.s.storeURL = c.URL.Secret
	case file:
		key = "url_file"
		l.s.storeURL, _ = l.line(c.URLFile, "store", "url_file")
	default:
		l.fail(`is missing: want redis://host:port/0, or "embedded" to try things out`, "store", "url")
	}
	l.s.embedded = l.s.storeURL.Reveal() == tokenstore.Embedded
	if !l.s.storeURL.IsZero() {
		l.checkStore(key)
	}
	switch {
	case c.KeysetFile != "":
		l.keyset()
	case !l.s.embedded && !l.s.storeURL.IsZero():
		l.fail("is missing: make one with `athd keys new -o keyset.json`", "store", "keyset_file")
	}
	if l.s.embedded {
		l.warn("store.url is embedded: nothing survives a restart, and there can be one athd only")
	}
}

// checkStore lets the store itself judge the URL.
func (l *loader) checkStore(key string) {
	if l.s.embedded {
		return
	}
	if err := tokenstore.CheckURL(l.s.storeURL.Reveal()); err != nil {
		l.fail(err.Error(), "store", key)
		return
	}
	if u, err := url.Parse(l.s.storeURL.Reveal()); err == nil && strings.HasPrefix(u.Scheme, "redis") &&
		!strings.HasPrefix(u.Scheme, "rediss") && !ath.IsLoopbackHost(u.Hostname()) {
		l.warn("store.%s leads to another host without TLS: records are sealed, but the password is not; rediss:// is TLS", key)
	}
}

func (l *loader) keyset() {
	data, ok := l.file(l.c.Store.KeysetFile, byOthersOrW, "store", "keyset_file")
	if !ok {
		return
	}
	keyset, err := tokenstore.ParseKeyset(data)
	if err != nil {
		l.fail(err.Error(), "store", "keyset_file")
	}
	l.s.keyset = keyset
}
