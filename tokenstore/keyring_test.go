package tokenstore_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A store takes the keysets of a rotation one after the other, and what was sealed
// with each of them opens as long as its key is there.
func TestAStoreTakesTheNextKeyset(t *testing.T) {
	server := realredis.Start(t)
	ctx, raw := t.Context(), server.Client()
	first := newKeyset(t)
	b := backend{url: server.URL(), keys: first}
	s, other := b.open(t), b.open(t)
	_, err := s.Ready(ctx)
	noErr(t, err)
	f := newFlow(t)
	f.store(t, s)
	read := func(s *tokenstore.Store, f flow) error { _, err := s.Read(ctx, f.token, f.agent.ID); return err }

	both, id, err := first.Add()
	noErr(t, err)
	promoted, err := both.Promote(id)
	noErr(t, err)
	alone, err := promoted.Retire(first.Primary())
	noErr(t, err)

	noErr(t, s.UseKeyset(ctx, both))
	noErr(t, other.UseKeyset(ctx, both))
	noErr(t, s.UseKeyset(ctx, promoted))
	if s.Keyset().Primary() != id {
		t.Fatalf("%v is in use", s.Keyset())
	}
	g := newFlow(t)
	g.store(t, s)
	for _, f := range []flow{f, g} {
		noErr(t, read(s, f))
		noErr(t, read(other, f)) // which has the key, and does not seal with it
	}
	// The canary follows at the next check.
	before := raw.Get(ctx, canaryKey).Val()
	noErr(t, s.Announce(ctx, tokenstore.Replica{}))
	if raw.Get(ctx, canaryKey).Val() == before {
		t.Error("the canary is sealed with the old key still")
	}
	// Nobody has said that nothing needs it: the file was edited by hand.
	err = s.UseKeyset(ctx, alone)
	if lockout, ok := errors.AsType[*tokenstore.LockoutError](err); !ok || !strings.Contains(lockout.Why, tokenstore.KeyName(first.Primary())) {
		t.Fatalf("a keyset without a key in use: %v", err)
	}
	noErr(t, read(s, f))
	noErr(t, s.MarkRetired(ctx, first.Primary()))
	noErr(t, s.UseKeyset(ctx, alone))
	wantErr(t, read(s, f), tokenstore.ErrCorrupt) // though it was decrypted before
	noErr(t, read(s, g))
	noErr(t, s.Announce(ctx, tokenstore.Replica{}))
}

// F-3. A keyset by which all would be lost is not taken, and the store goes on with
// the one before it.
func TestAStoreRefusesAKeysetThatLocksItOut(t *testing.T) {
	server := realredis.Start(t)
	ctx := t.Context()
	first := newKeyset(t)
	s := backend{url: server.URL(), keys: first}.open(t)
	_, err := s.Ready(ctx)
	noErr(t, err)
	f := newFlow(t)
	f.store(t, s)
	both, id, err := first.Add()
	noErr(t, err)
	onlyNew, err := both.Promote(id)
	noErr(t, err)
	onlyNew, err = onlyNew.Retire(first.Primary())
	noErr(t, err)
	for name, next := range map[string]*tokenstore.Keyset{
		"a stranger's":                        newKeyset(t),
		"without what sealed all":             onlyNew,
		"with what sealed all, but it is off": disabled(t, both, first.Primary()),
	} {
		t.Run(name, func(t *testing.T) {
			err := s.UseKeyset(ctx, next)
			lockout, ok := errors.AsType[*tokenstore.LockoutError](err)
			if !ok || !strings.Contains(lockout.Why, tokenstore.KeyName(first.Primary())) {
				t.Errorf("it was told: %v", err)
			}
			if s.Keyset() != first {
				t.Error("it is in use")
			}
			_, err = s.Read(ctx, f.token, f.agent.ID)
			noErr(t, err)
		})
	}
	if err := s.UseKeyset(ctx, &tokenstore.Keyset{}); err == nil || s.Keyset() != first {
		t.Error("an empty keyset is in use")
	}
	// Away, the store cannot be asked: what adds a key is harmless, and nothing else is.
	server.Stop()
	err = s.UseKeyset(ctx, onlyNew)
	wantErr(t, err, tokenstore.ErrUnavailable)
	noErr(t, s.UseKeyset(ctx, both))
}

// disabled returns a keyset with one key switched off and another one sealing.
func disabled(t *testing.T, k *tokenstore.Keyset, id uint32) *tokenstore.Keyset {
	t.Helper()
	for _, key := range k.Keys() {
		if key.ID != id {
			promoted, err := k.Promote(key.ID)
			noErr(t, err)
			k = promoted
		}
	}
	data, err := k.Marshal()
	noErr(t, err)
	text := string(data)
	for part := range strings.SplitSeq(text, `"keyData"`) {
		if strings.Contains(part, strings.TrimPrefix(tokenstore.KeyName(id), "key ")+",") && strings.Contains(part, "ENABLED") {
			text = strings.Replace(text, part, strings.Replace(part, "ENABLED", "DISABLED", 1), 1)
		}
	}
	off, err := tokenstore.ParseKeyset([]byte(text))
	noErr(t, err)
	if key, _ := off.Key(id); key.Enabled {
		t.Fatal("it is not off")
	}
	return off
}

// F-3. Each keyset that does not fit is told for what it is.
func TestWhatIsWrongWithAKeysetIsTold(t *testing.T) {
	server := realredis.Start(t)
	ctx := t.Context()
	first := newKeyset(t)
	old := tokenstore.KeyName(first.Primary())
	both, id, err := first.Add()
	noErr(t, err)
	fresh := tokenstore.KeyName(id)
	promoted, err := both.Promote(id)
	noErr(t, err)
	open := func(k *tokenstore.Keyset) *tokenstore.Store { return backend{url: server.URL(), keys: k}.open(t) }
	s := open(promoted)
	_, err = s.Ready(ctx)
	noErr(t, err)
	f := newFlow(t)
	f.store(t, s)

	told := func(t *testing.T, k *tokenstore.Keyset, parts ...string) {
		t.Helper()
		s := open(k)
		_, err := s.Ready(ctx)
		wantErr(t, err, tokenstore.ErrOtherKeyset)
		for _, part := range append(parts, "this Redis was written with another keyset: ") {
			if got := tokenstore.Reason(err); !strings.Contains(got, part) {
				t.Errorf("%q is not in: %s", part, got)
			}
		}
		if cure := tokenstore.Cure(err); !strings.Contains(cure, "athd keys status") {
			t.Errorf("the cure is %q", cure)
		}
		_, err = s.Read(ctx, f.token, f.agent.ID)
		wantErr(t, err, tokenstore.ErrUnavailable)
		wantErr(t, s.Announce(ctx, tokenstore.Replica{}), tokenstore.ErrOtherKeyset)
	}
	t.Run("one from before the key was added", func(t *testing.T) {
		told(t, first, "it needs "+fresh+", and this one has "+old+" (seals)")
	})
	t.Run("the key is there, and off", func(t *testing.T) {
		told(t, disabled(t, both, id), "it needs "+fresh+", which this keyset has, but disabled")
	})
	t.Run("one that seals with the old key is fine until that is retired", func(t *testing.T) {
		_, err := open(both).Ready(ctx)
		noErr(t, err)
		noErr(t, s.MarkRetired(ctx, first.Primary()))
		told(t, both, old+", which it seals with, was retired", "before the last rotation")
		_, err = open(promoted).Ready(ctx) // which has it still, and does not seal with it
		noErr(t, err)
		stale := open(both)
		_, err = stale.Ready(ctx)
		wantErr(t, err, tokenstore.ErrOtherKeyset)
		noErr(t, stale.UseKeyset(ctx, promoted)) // the right one comes
		_, err = stale.Ready(ctx)
		noErr(t, err)
		stranger := open(newKeyset(t))
		_, err = stranger.Ready(ctx)
		wantErr(t, err, tokenstore.ErrOtherKeyset)
		noErr(t, stranger.UseKeyset(ctx, promoted))
		_, err = stranger.Read(ctx, f.token, f.agent.ID)
		wantErr(t, err, tokenstore.ErrUnavailable) // until it has looked
		_, err = stranger.Ready(ctx)
		noErr(t, err)
		_, err = stranger.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
	})
	t.Run("Redis is as it was before the rotation", func(t *testing.T) {
		noErr(t, server.Client().FlushAll(ctx).Err())
		_, err := open(first).Ready(ctx)
		noErr(t, err)
		alone, err := promoted.Retire(first.Primary())
		noErr(t, err)
		told(t, alone, "it needs "+old+", and this one has "+fresh+" (seals)")
	})
	if err := s.MarkRetired(ctx, id); !errors.Is(err, tokenstore.ErrKeySeals) {
		t.Errorf("the key that seals was retired: %v", err)
	}
}

// F-3. A key is its bytes, and not its id: a file in which one was changed locks out
// what that one sealed.
//
// proves: V-6
func TestAStoreRefusesAnotherKeyOfTheSameID(t *testing.T) {
	server := realredis.Start(t)
	ctx := t.Context()
	first := newKeyset(t)
	both, id, err := first.Add()
	noErr(t, err)
	promoted, err := both.Promote(id)
	noErr(t, err)
	s := backend{url: server.URL(), keys: first}.open(t)
	_, err = s.Ready(ctx)
	noErr(t, err)
	f := newFlow(t)
	f.store(t, s) // with the first key
	noErr(t, s.UseKeyset(ctx, both))
	refuses := func(next *tokenstore.Keyset, id uint32) {
		t.Helper()
		err := s.UseKeyset(ctx, next)
		if lockout, ok := errors.AsType[*tokenstore.LockoutError](err); !ok || !strings.Contains(lockout.Why, tokenstore.KeyName(id)) {
			t.Errorf("another key of the same id is taken: %v", err)
		}
		_, err = s.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
	}
	refuses(otherBytes(t, both, first.Primary()), first.Primary()) // of the key that seals
	noErr(t, s.UseKeyset(ctx, promoted))
	_, err = s.Ready(ctx) // the canary follows
	noErr(t, err)
	refuses(otherBytes(t, promoted, first.Primary()), first.Primary()) // of one that only opens
}

// otherBytes is a keyset in which one key is another one, with the id of the one
// before it.
func otherBytes(t *testing.T, k *tokenstore.Keyset, id uint32) *tokenstore.Keyset {
	t.Helper()
	values := func(k *tokenstore.Keyset) map[uint32]string {
		data, err := k.Marshal()
		noErr(t, err)
		var read struct {
			Key []struct {
				KeyData struct{ Value string }
				KeyID   uint32
			}
		}
		noErr(t, json.Unmarshal(data, &read))
		out := map[uint32]string{}
		for _, key := range read.Key {
			out[key.KeyID] = key.KeyData.Value
		}
		return out
	}
	data, err := k.Marshal()
	noErr(t, err)
	fresh := newKeyset(t)
	text := strings.Replace(string(data), values(k)[id], values(fresh)[fresh.Primary()], 1)
	if text == string(data) {
		t.Fatal("it is the same key")
	}
	other, err := tokenstore.ParseKeyset([]byte(text))
	noErr(t, err)
	return other
}

// What was made of the list of retired keys keeps no keyset from being taken: it
// permits nothing, and who needs a key is looked for.
func TestARuinedListOfRetiredKeysPermitsNothing(t *testing.T) {
	server := realredis.Start(t)
	ctx := t.Context()
	first := newKeyset(t)
	both, id, err := first.Add()
	noErr(t, err)
	promoted, err := both.Promote(id)
	noErr(t, err)
	alone, err := promoted.Retire(first.Primary())
	noErr(t, err)
	s := backend{url: server.URL(), keys: both}.open(t)
	_, err = s.Ready(ctx)
	noErr(t, err)
	noErr(t, server.Client().Set(ctx, "ath:{canary}:retired", "rubbish", 0).Err())
	f := newFlow(t)
	f.store(t, s)
	noErr(t, s.UseKeyset(ctx, promoted))
	_, err = s.Ready(ctx) // the canary follows
	noErr(t, err)
	err = s.UseKeyset(ctx, alone)
	if lockout, ok := errors.AsType[*tokenstore.LockoutError](err); !ok || !strings.Contains(lockout.Why, "which what is stored needs") {
		t.Fatalf("a keyset without a key in use: %v", err)
	}
	_, err = s.Rewrap(ctx, tokenstore.Rewrap{})
	noErr(t, err)
	noErr(t, s.UseKeyset(ctx, alone))
	_, err = s.Read(ctx, f.token, f.agent.ID)
	noErr(t, err)
}

// An athd that refuses its file is seen, however much it has to say.
func TestAReplicaWithMuchToSayIsSeen(t *testing.T) {
	server := realredis.Start(t)
	s := backend{url: server.URL(), keys: newKeyset(t)}.open(t)
	noErr(t, s.Announce(t.Context(), tokenstore.Replica{Refused: strings.Repeat("this one has key 1846034021, ", 1000)}))
	all, err := s.Replicas(t.Context())
	noErr(t, err)
	if len(all) != 1 || !strings.HasPrefix(all[0].Refused, "this one has key 1846034021") {
		t.Errorf("there are %d", len(all))
	}
}

// F-3. The canary stays with a key that every athd has: one that cannot open it
// refuses everything.
func TestTheCanaryWaitsForWhoLacksTheKey(t *testing.T) {
	server := realredis.Start(t)
	ctx := t.Context()
	first := newKeyset(t)
	both, id, err := first.Add()
	noErr(t, err)
	promoted, err := both.Promote(id)
	noErr(t, err)
	old, started := backend{url: server.URL(), keys: first}.open(t), backend{url: server.URL(), keys: promoted}.open(t)
	noErr(t, old.Announce(ctx, tokenstore.Replica{}))
	sealed := func(want uint32) {
		t.Helper()
		noErr(t, started.Announce(ctx, tokenstore.Replica{}))
		if got, err := old.CanaryKey(ctx); err != nil || got != want {
			t.Errorf("%d seals the canary, and not %d: %v", got, want, err)
		}
		_, err := old.Ready(ctx)
		noErr(t, err)
	}
	sealed(first.Primary())
	noErr(t, old.UseKeyset(ctx, both))
	noErr(t, old.Announce(ctx, tokenstore.Replica{}))
	sealed(id)
}

func TestReplicasTellWhichKeysTheyHave(t *testing.T) {
	server := realredis.Start(t)
	ctx := t.Context()
	first := newKeyset(t)
	both, id, err := first.Add()
	noErr(t, err)
	promoted, err := both.Promote(id)
	noErr(t, err)
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	open := func(k *tokenstore.Keyset) *tokenstore.Store {
		return backend{url: server.URL(), keys: k}.open(t, func(c *tokenstore.Config) { c.Now = func() time.Time { return now } })
	}
	one, two := open(both), open(promoted)
	noErr(t, one.Announce(ctx, tokenstore.Replica{Name: "athd-a", Version: "v1"}))
	noErr(t, two.Announce(ctx, tokenstore.Replica{Name: "athd-b", Version: "v2", Refused: "it is bad"}))
	all, err := one.Replicas(ctx)
	noErr(t, err)
	if len(all) != 2 {
		t.Fatalf("there are %+v", all)
	}
	a, b := all[0], all[1]
	if a.Name != "athd-a" || a.Version != "v1" || a.Primary != first.Primary() || !a.Has(id) || !a.At.Equal(now) || a.ID == b.ID {
		t.Errorf("the first is %+v", a)
	}
	if b.Name != "athd-b" || b.Primary != id || !slices.Equal(b.Keys, []uint32{first.Primary(), id}) || b.Refused != "it is bad" {
		t.Errorf("the second is %+v", b)
	}
	// Again, after a reload: it is the same one.
	noErr(t, one.UseKeyset(ctx, promoted))
	noErr(t, one.Announce(ctx, tokenstore.Replica{Name: "athd-a", Version: "v1"}))
	noErr(t, two.Withdraw(ctx))
	all, err = two.Replicas(ctx)
	noErr(t, err)
	if len(all) != 1 || all[0].Primary != id || all[0].ID != a.ID {
		t.Errorf("there are %+v", all)
	}
	// One that dies is gone with its entry, and with rubbish there is nobody.
	raw := server.Client()
	for _, key := range raw.Keys(ctx, "ath:{canary}:replica:*").Val() {
		if ttl := raw.PTTL(ctx, key).Val(); ttl <= 0 || ttl > tokenstore.PresenceTTL {
			t.Errorf("it ends in %v", ttl)
		}
		noErr(t, raw.Set(ctx, key, "rubbish", 0).Err())
	}
	all, err = one.Replicas(ctx)
	noErr(t, err)
	if len(all) != 0 {
		t.Errorf("there are %+v", all)
	}
}
