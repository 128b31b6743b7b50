package tokenstore

import (
	"encoding/json"
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
		`{"id":"00","phase":"started"}`, `{"agent":"a"}{}`, `{"exp":"x"}`, `{"agent":null}`, `[1]`, `{"new":1}`, `{"agent":"a","x":{"b":"\u003c","a":1e400}}`, `{"x":1}`,
		`{"id":"shop","config":"{}","former":[{"config":"{}","until":"2026-01-02T03:04:05Z"}],"state":"draining","left":2,"gen":7,"at":"2026-01-02T03:04:05Z","by":"ops","changed":"2026-01-02T03:04:05Z"}`,
		`{"id":"shop","former":[{},{},{},{}]}`, `{"id":"shop","state":"x"}`, `{"id":"shop","left":-1}`, `{"id":""}`,
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
		again(t, data, encodeRenewal, decodeRenewal)
		again(t, data, encodeConnection, decodeConnection)
		again(t, data, encodeProvider, decodeProvider)
	})
}

// FuzzRecordMembers: what a record is read as, encoding/json reads too: the
// reader is stricter and never different.
func FuzzRecordMembers(f *testing.F) {
	for _, seed := range []string{
		`{"agent":"https://a.example/","client":"c","user":"u","p":"github","scopes":["a","b"],"conn":"t","at":"2026-01-02T03:04:05Z","exp":"2026-01-02T03:04:05.123456789Z","rev":"2026-01-02T03:04:05+01:00","jkt":"x","gen":12,"x":{"a":[1]}}`,
		`{"id":"\u00e9  ","client":"c","secret":"` + strings.Repeat("0f", 32) + `","name":"n","dev":{"name":"n","id":"i","contact":"c"},"purpose":"p","redirects":["r"],` +
			`"approvals":[{"p":"p","yes":["a"],"wait":["b"],"no":["c"],"why":"w","bar":["d"]},{"p":"q"}],"until":"2026-01-02T03:04:05Z","suspended":true,"gen":1,"at":"2026-01-02T03:04:05Z"}`,
		`{"approvals":[{"p":"p","yes":["a"]}],"approvals":[{"wait":["b"]}]}`, `{"scopes":["a","b"],"scopes":["c"]}`, `{"scopes":[]}`, `{"scopes":null}`,
		`{"dev":{"name":"n"},"dev":{"id":"i"}}`, `{"dev":{}}`, `{}`, `{"Agent":"a"}`, `{"agent":"\u0061"}`, `{"agent":"aÿ"}`, `{"agent":"a"} `, `{"agent":"a"}{}`,
		`{"gen":0}`, `{"gen":01}`, `{"gen":-1}`, `{"gen":1.0}`, `{"gen":1e3}`, `{"gen":9999999}`, `{"suspended":false}`, `{"at":"x"}`, `{"at":""}`, `{"secret":"0f"}`, `{"secret":""}`, `[1]`, ``, `{"agent":"a",}`, `{"agent":}`,
		`{"agent":"a","renewal":"` + strings.Repeat("0f", 32) + `"}`, `{"agent":"a","terms":"7200-60","at":"2026-01-02T03:04:05Z","used":"2026-01-02T03:04:05Z"}`, `{"agent":"a","terms":"07-6"}`, `{"agent":"a","terms":""}`,
		`{"x":{}}`, `{"x":null}`, `{"x":[]}`, `{"x":{"a":1,"a":2}}`, `{"X":{}}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sameAsEncodingJSON(t, data, decodeAgent)
		sameAsEncodingJSON(t, data, decodeGrant)
		sameAsEncodingJSON(t, data, decodeRenewal)
	})
}

func sameAsEncodingJSON[T any](t *testing.T, data []byte, decode func([]byte) (T, extra, error)) {
	t.Helper()
	got, _, err := decode(data)
	if err != nil {
		return
	}
	var want T
	if err := json.Unmarshal(data, &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\nis read as         %+v\nby encoding/json as %+v, %v", data, got, want, err)
	}
}

func again[T any](t *testing.T, data []byte, encode func(T, extra) ([]byte, error), decode func([]byte) (T, extra, error)) {
	record, x, err := decode(data)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%T: the error is %v", record, err)
		}
		return
	}
	// Once through the codec, a record stays as it is.
	first, err := encode(record, x)
	if err != nil {
		return
	}
	second, x, err := decode(first)
	if err != nil {
		t.Fatalf("%T does not come back from %s: %v", record, first, err)
	}
	if last, err := encode(second, x); err != nil || !reflect.DeepEqual(first, last) {
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
