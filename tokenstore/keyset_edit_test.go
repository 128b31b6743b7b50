package tokenstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/tokenstore"
)

func ids(k *tokenstore.Keyset) []uint32 {
	var out []uint32
	for _, key := range k.Keys() {
		out = append(out, key.ID)
	}
	return out
}

// A rotation in four steps: each keyset opens what the one before it sealed, and
// the one before opens what is sealed as soon as it has the key.
func TestKeysAreAddedPromotedAndRetired(t *testing.T) {
	first := newKeyset(t)
	old := first.Primary()
	added, id, err := first.Add()
	noErr(t, err)
	if added.Primary() != old || !slices.Equal(ids(added), []uint32{old, id}) || id == old {
		t.Fatalf("a fresh key seals at once: %v of %v", added.Primary(), added.Keys())
	}
	if got := first.Keys(); len(got) != 1 {
		t.Errorf("the keyset itself changed: %v", got)
	}
	promoted, err := added.Promote(id)
	noErr(t, err)
	if promoted.Primary() != id || !slices.Equal(ids(promoted), []uint32{old, id}) {
		t.Fatalf("after promote %v of %v seals", promoted.Primary(), promoted.Keys())
	}
	retired, err := promoted.Retire(old)
	noErr(t, err)
	if retired.Primary() != id || !slices.Equal(ids(retired), []uint32{id}) {
		t.Fatalf("after retire there are %v", retired.Keys())
	}
	for i, key := range retired.Keys() {
		if i > 0 || !key.Primary || !key.Enabled || !key.Named {
			t.Errorf("the key is told as %+v", key)
		}
	}
	// Through a file, as each of them goes.
	for _, k := range []*tokenstore.Keyset{added, promoted, retired} {
		data, err := k.Marshal()
		noErr(t, err)
		again, err := tokenstore.ParseKeyset(data)
		noErr(t, err)
		if again.Primary() != k.Primary() || !slices.Equal(ids(again), ids(k)) {
			t.Errorf("%v became %v", k, again)
		}
	}
}

func TestAKeysetIsNotEditedIntoOneThatLosesKeys(t *testing.T) {
	k := newKeyset(t)
	if _, err := k.Retire(k.Primary()); !errors.Is(err, tokenstore.ErrKeySeals) {
		t.Errorf("the key that seals was retired: %v", err)
	}
	if _, err := k.Retire(k.Primary() + 1); !errors.Is(err, tokenstore.ErrNoSuchKey) {
		t.Errorf("a key that is not there was retired: %v", err)
	}
	if _, err := k.Promote(k.Primary() + 1); !errors.Is(err, tokenstore.ErrNoSuchKey) {
		t.Errorf("a key that is not there was promoted: %v", err)
	}
	more, id, err := k.Add()
	noErr(t, err)
	data, err := more.Marshal()
	noErr(t, err)
	// The second key is switched off by hand.
	text := string(data)
	at := strings.LastIndex(text, "ENABLED")
	off, err := tokenstore.ParseKeyset([]byte(text[:at] + "DISABLED" + text[at+len("ENABLED"):]))
	noErr(t, err)
	if key, ok := off.Key(id); !ok || key.Enabled {
		t.Errorf("a disabled key is told as %+v", key)
	}
	if _, err := off.Promote(id); !errors.Is(err, tokenstore.ErrKeyDisabled) {
		t.Errorf("a disabled key was promoted: %v", err)
	}
	if _, _, err := (&tokenstore.Keyset{}).Add(); err == nil {
		t.Error("a key was added to no keyset")
	}
	for len(k.Keys()) < tokenstore.MaxKeys {
		if k, _, err = k.Add(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := k.Add(); !errors.Is(err, tokenstore.ErrKeysFull) {
		t.Errorf("a keyset grows without end: %v", err)
	}
	if text := fmt.Sprintf("%v %+v", k.Keys(), k); strings.Contains(text, "value") || len(text) > 1000 {
		t.Errorf("what is told of keys is %s", text)
	}
}
