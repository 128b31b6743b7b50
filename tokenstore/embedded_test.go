package tokenstore_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// Whoever moves the store's clock by months need not wait for them.
func TestEmbeddedKeysAgeByTheStoresClock(t *testing.T) {
	var ahead atomic.Int64
	s, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	noErr(t, err)
	defer s.Close()
	tag := ath.NewTag()
	first := func() bool {
		ok, err := s.Once(t.Context(), tag, "jti", "x", 30*24*time.Hour)
		noErr(t, err)
		return ok
	}
	if !first() || first() {
		t.Fatal("it is remembered")
	}
	ahead.Store(int64(29 * 24 * time.Hour))
	f := newFlow(t)
	noErr(t, s.PutConnection(t.Context(), f.token.Tag(), f.connection, f.session.Expires)) // by a script
	if first() {
		t.Error("it is forgotten a day too early")
	}
	ahead.Store(int64(30*24*time.Hour + 2*time.Second))
	noErr(t, s.PutConnection(t.Context(), f.token.Tag(), f.connection, f.session.Expires))
	if !first() {
		t.Error("its time is over, and it is still there")
	}
}

// A script that runs while a second ends does not wait for itself.
func TestEmbeddedKeysAgeWhileScriptsRun(t *testing.T) {
	var ahead atomic.Int64
	s, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Add(int64(time.Second)))) }})
	noErr(t, err)
	defer s.Close()
	f := newFlow(t)
	done := make(chan error, 1)
	go func() {
		err := s.CreateAgent(t.Context(), f.agent)
		for i := 0; i < 20 && err == nil; i++ {
			err = s.PutConnection(t.Context(), f.token.Tag(), f.connection, f.session.Expires.Add(24*time.Hour))
		}
		done <- err
	}()
	select {
	case err := <-done:
		noErr(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("a script waits for the lock that it has")
	}
}
