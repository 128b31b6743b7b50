package tokenstore

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// FuzzStoredRecord reads hostile bytes as they may lie in Redis, behind the
// seal too: as if a key were lost. It never panics, fails as ErrCorrupt only,
// and what it takes can be stored again.
func FuzzStoredRecord(f *testing.F) {
	keys, err := NewKeyset()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"", "\x01", "\x02abc", "\x01{}", "{}", `{"id":"https://a.example/","client":"ath_x"}`,
		`{"agent":"a","client":"c","user":"u","p":"github","conn":"t","exp":"2026-01-02T03:04:05Z"}`,
		`{"id":"00","phase":"started"}`, `{"agent":"a"}{}`, `{"exp":"x"}`, `{"agent":null}`, `[1]`, `{"new":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := keys.open(grantKind, "ath:{t}:grant", string(data)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("bytes that nobody sealed: %v", err)
		}
		again(t, data, encodeAgent, decodeAgent)
		again(t, data, encodeSession, decodeSession)
		again(t, data, encodeGrant, decodeGrant)
		again(t, data, encodeConnection, decodeConnection)
	})
}

func again[T any](t *testing.T, data []byte, encode func(T) ([]byte, error), decode func([]byte) (T, error)) {
	record, err := decode(data)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%T: the error is %v", record, err)
		}
		return
	}
	// Once through the codec, a record stays as it is.
	first, err := encode(record)
	if err != nil {
		return
	}
	second, err := decode(first)
	if err != nil {
		t.Fatalf("%T does not come back from %s: %v", record, first, err)
	}
	if last, err := encode(second); err != nil || !reflect.DeepEqual(first, last) {
		t.Fatalf("%T changes on its way: %s, then %s, %v", record, first, last, err)
	}
}

// FuzzStoreURL puts a password into a URL at any place: whatever is wrong with
// the URL, the error does not repeat it.
func FuzzStoreURL(f *testing.F) {
	const password = "correct-horse"
	for _, seed := range [][2]string{
		{"redis://:", "@h:1/2"}, {"rediss://u:", "@h"}, {"unix://", "@/x?db=1"}, {"unix:///x?db=", ""}, {"redis://h/", ""},
		{"redis://h:", "/0"}, {"redis://[", "]"}, {"", "://h"}, {"redis://h?", "=1"}, {"redis://%", "@h"}, {"redis+cluster://:", "/@h"},
		{"redis+sentinel://:", "@h:1,h:2/main/0"}, {"rediss+sentinel://h,", "/main"}, {"redis+sentinel://:,", "/,@h/main"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, behind string) {
		a, err := parseURL(before + password + behind)
		switch {
		case err != nil && strings.Contains(err.Error(), password):
			t.Errorf("the error repeats it: %v", err)
		case err == nil && (len(a.addrs) == 0 || a.addrs[0] == "" || a.network == ""):
			t.Errorf("there is no address in %+v", a)
		}
	})
}
