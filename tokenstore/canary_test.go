package tokenstore_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

const canaryKey = "ath:{canary}:keyset"

// F-3. A Redis that was written with another keyset is told from one that is
// empty, with the canary and, as the last version left it, without.
func TestAnotherKeysetIsReported(t *testing.T) {
	server := realredis.Start(t)
	raw, ctx := server.Client(), t.Context()
	all := func(*tokenstore.Agent) bool { return true }
	mine, others := newKeyset(t), newKeyset(t)
	// records are all keys but that of the change feed, which the stores that are open
	// keep beside.
	records := func() []string {
		return slices.DeleteFunc(raw.Keys(ctx, "*").Val(), func(key string) bool { return strings.HasPrefix(key, "ath:{changes}:") })
	}
	told := func(t *testing.T, s *tokenstore.Store) {
		t.Helper()
		for range 2 {
			_, err := s.Ready(ctx)
			wantErr(t, err, tokenstore.ErrOtherKeyset)
			if got := tokenstore.Reason(err); !strings.HasPrefix(got, "this Redis was written with another keyset") {
				t.Errorf("the reason is %q", got)
			}
			_, err = s.Agents(ctx, "", 10, all)
			wantErr(t, err, tokenstore.ErrOtherKeyset)
		}
		before, f := records(), newFlow(t)
		for name, err := range map[string]error{
			"create agent":   s.CreateAgent(ctx, f.agent),
			"create session": s.CreateSession(ctx, f.sessionID.Tag(), f.session),
			"put connection": s.PutConnection(ctx, f.token.Tag(), f.connection, f.session.Expires),
		} {
			if !errors.Is(err, tokenstore.ErrOtherKeyset) || !errors.Is(err, tokenstore.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := s.Read(ctx, f.token, f.agent.ID); !errors.Is(err, tokenstore.ErrUnavailable) {
			t.Errorf("a decision reads: %v", err)
		}
		if after := records(); len(after) != len(before) {
			t.Errorf("of %q there are %q", before, after)
		}
	}
	open := func(keys *tokenstore.Keyset) *tokenstore.Store { return backend{url: server.URL(), keys: keys}.open(t) }
	t.Run("an empty one takes the first keyset", func(t *testing.T) {
		_, err := open(mine).Ready(ctx)
		noErr(t, err)
		if ttl := raw.TTL(ctx, canaryKey).Val(); ttl != -1 {
			t.Errorf("the canary ends in %v", ttl)
		}
		told(t, open(others))
		_, err = open(mine).Ready(ctx)
		noErr(t, err)
	})
	t.Run("one of the last version has no canary", func(t *testing.T) {
		noErr(t, raw.FlushAll(ctx).Err())
		s, f := open(mine), newFlow(t)
		f.store(t, s)
		for range 40 { // what is used once is not sealed and tells nothing
			_, err := s.Once(ctx, ath.NewTag(), "jti", "x", 1<<40)
			noErr(t, err)
		}
		told(t, open(others))
		if raw.Exists(ctx, canaryKey).Val() != 0 {
			t.Error("the stranger wrote a canary")
		}
		_, err := s.Ready(ctx)
		noErr(t, err)
		told(t, open(others))
	})
	t.Run("a record that was tampered with does not make it another's", func(t *testing.T) {
		noErr(t, raw.FlushAll(ctx).Err())
		s, f, g := open(mine), newFlow(t), newFlow(t)
		f.store(t, s)
		g.store(t, s)
		key := "ath:{" + string(ath.AgentTag(f.agent.ID)) + "}:agent"
		noErr(t, raw.Set(ctx, key, "\x01rubbish", 0).Err())
		_, err := s.Ready(ctx)
		noErr(t, err)
		page, err := s.Agents(ctx, "", 10, all)
		noErr(t, err)
		if len(page.Corrupt) != 1 || len(page.Agents) != 1 {
			t.Errorf("the page is %+v", page)
		}
	})
	t.Run("many at once agree on one canary", func(t *testing.T) {
		noErr(t, raw.FlushAll(ctx).Err())
		done := make(chan error)
		for range 8 {
			s := open(mine)
			go func() { _, err := s.Ready(ctx); done <- err }()
		}
		for range 8 {
			noErr(t, <-done)
		}
		_, err := open(mine).Ready(ctx)
		noErr(t, err)
	})
}

// A keyset with a new key in front opens what the old one sealed, and seals the
// canary again, so that the old key can go one day.
func TestACanaryFollowsTheKeyset(t *testing.T) {
	server := realredis.Start(t)
	raw, ctx := server.Client(), t.Context()
	before, both, after := rotated(t)
	ready := func(keys *tokenstore.Keyset) error {
		_, err := backend{url: server.URL(), keys: keys}.open(t).Ready(ctx)
		return err
	}
	noErr(t, ready(before))
	wantErr(t, ready(after), tokenstore.ErrOtherKeyset)
	first := raw.Get(ctx, canaryKey).Val()
	noErr(t, ready(both))
	if raw.Get(ctx, canaryKey).Val() == first {
		t.Error("it is sealed with the old key still")
	}
	noErr(t, ready(after))
	noErr(t, ready(both))
	wantErr(t, ready(before), tokenstore.ErrOtherKeyset)
}

// rotated returns a keyset, the same with a new key in front, and that new key
// alone.
func rotated(t *testing.T) (before, both, after *tokenstore.Keyset) {
	t.Helper()
	m := keyset.NewManager()
	add := func() uint32 {
		id, err := m.Add(aead.XAES256GCM192BitNonceKeyTemplate())
		noErr(t, err)
		noErr(t, m.SetPrimary(id))
		return id
	}
	now := func() *tokenstore.Keyset {
		handle, err := m.Handle()
		noErr(t, err)
		var text bytes.Buffer
		noErr(t, insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)))
		keys, err := tokenstore.ParseKeyset(text.Bytes())
		noErr(t, err)
		return keys
	}
	old := add()
	before = now()
	add()
	both = now()
	noErr(t, m.Delete(old))
	return before, both, now()
}
