package tokenstore

import (
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

func storeOf(keys *Keyset) *Store {
	s := &Store{}
	s.keys.current.Store(keys)
	return s
}

func newHealingOf(agent, user string) Healing {
	return NewHealing(&Grant{Agent: agent, ClientID: "ath_client", User: user, Provider: "github", Connection: ath.NewTag()}, 3, time.Now())
}

// A handle opens where it was made for, with any key of the keyset that is there, and
// nowhere else; it is no record, and no record is a handle.
// proves: P-10
func TestAHandleOpensForItsOriginAlone(t *testing.T) {
	keys, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	const here = "https://consent.example"
	s, h := storeOf(keys), newHealingOf("https://a.example/agent.json", "alice")
	handle, err := s.SealHealing(here, h)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Trim(handle, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || len(handle) > 1000 {
		t.Errorf("%d characters: %q", len(handle), handle)
	}
	got, err := s.OpenHealing(here, handle)
	if err != nil || !reflect.DeepEqual(got.Ref(), h.Ref()) || got.Derive("x") != h.Derive("x") || !got.Until.Equal(h.Until) || got.Generation != 3 {
		t.Errorf("%+v %v", got, err)
	}
	again, err := s.SealHealing(here, newHealingOf("https://a.example/agent.json", "alice"))
	if err != nil || again == handle {
		t.Errorf("two handles are the same: %v", err)
	}
	if other, err := s.OpenHealing(here, again); err != nil || other.Derive("x") == h.Derive("x") || other.SessionTag() == h.SessionTag() {
		t.Errorf("two handles share their keys: %v", err)
	}
	strange, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.seal(sessionKind, here, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (Healing, error){
		"another origin":       func() (Healing, error) { return s.OpenHealing("https://other.example", handle) },
		"another installation": func() (Healing, error) { return storeOf(strange).OpenHealing(here, handle) },
		"a record": func() (Healing, error) {
			return s.OpenHealing(here, base64.RawURLEncoding.EncodeToString([]byte(sealed)))
		},
	} {
		if h, err := open(); !errors.Is(err, ErrCorrupt) || h.Agent != "" {
			t.Errorf("%s: %+v %v", name, h, err)
		}
	}
	raw, _ := base64.RawURLEncoding.DecodeString(handle)
	if _, err := keys.open(sessionKind, here, string(raw)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the handle opens as a record: %v", err)
	}
}

// proves: P-10
func TestAHandleIsBounded(t *testing.T) {
	keys, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	s := storeOf(keys)
	longest := "https://a.example/" + strings.Repeat("a", 2048-len("https://a.example/"))
	handle, err := s.SealHealing("https://consent.example", newHealingOf(longest, strings.Repeat("u", 255)))
	if err != nil || len(handle) > MaxHealingBytes {
		t.Errorf("the longest agent id: %d characters, %v", len(handle), err)
	}
	if _, err := s.SealHealing("https://consent.example", newHealingOf(longest, strings.Repeat("u", 4000))); !errors.Is(err, ErrHealingTooLong) {
		t.Errorf("a user id without end: %v", err)
	}
	if _, err := s.SealHealing("https://consent.example", Healing{Agent: "a", ClientID: "c", User: "u", Provider: "p"}); err == nil {
		t.Error("one without a key is sealed")
	}
}

// FuzzHealing opens what strangers put into links: nothing of it panics, and nothing
// opens that was not sealed.
func FuzzHealing(f *testing.F) {
	keys, err := NewKeyset()
	if err != nil {
		f.Fatal(err)
	}
	s := storeOf(keys)
	h := newHealingOf("https://a.example/agent.json", "alice")
	good, err := s.SealHealing("https://consent.example", h)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "A", "AQ", good, good + "=", good[1:], good[:len(good)-1], strings.ToUpper(good), "%2e", strings.Repeat("A", MaxHealingBytes+1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, handle string) {
		got, err := s.OpenHealing("https://consent.example", handle)
		switch {
		case handle == good && (err != nil || got.User != "alice"):
			t.Errorf("the good one: %v", err)
		case handle != good && !errors.Is(err, ErrCorrupt):
			t.Errorf("%q opens: %v", handle, err)
		}
	})
}
