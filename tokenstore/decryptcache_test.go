package tokenstore

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// counting returns a cache that counts what it decrypts.
func counting(calls *int) *decryptCache[string] {
	return newDecryptCache(func(key, raw string) (string, extra, error) {
		*calls++
		if raw == "bad" {
			return "", nil, ErrCorrupt
		}
		return key + raw, nil, nil
	})
}

func TestDecryptCacheKnowsARecordByAllItsBytes(t *testing.T) {
	calls := 0
	c := counting(&calls)
	for _, step := range []struct {
		key, raw string
		opens    bool
	}{
		{"a", "1", true}, {"a", "1", false}, {"b", "1", true}, {"a", "2", true}, {"a", "1", true}, {"a", "1", false},
		{"b", "1", false}, {"a", "bad", true}, {"a", "bad", true}, {"a", "1", false}, {"", "a1", true},
	} {
		before := calls
		got, err := c.get(step.key, step.raw)
		if (calls > before) != step.opens {
			t.Errorf("%+v: opened %d times", step, calls-before)
		}
		if step.raw == "bad" {
			if !errors.Is(err, ErrCorrupt) || got != nil {
				t.Errorf("%+v: %v, %v", step, got, err)
			}
		} else if err != nil || *got != step.key+step.raw {
			t.Errorf("%+v: %v, %v", step, got, err)
		}
	}
}

// A record that differs in one byte, wherever it is, is another record: a
// tombstone is never taken for the grant that it replaced.
// proves: V-4
func TestDecryptCacheMissesWhenOneByteDiffers(t *testing.T) {
	calls := 0
	c := counting(&calls)
	record := strings.Repeat("0123456789abcdef", 30)
	for i := range record {
		if _, err := c.get("key", record); err != nil {
			t.Fatal(err)
		}
		before := calls
		other := record[:i] + "x" + record[i+1:]
		if got, err := c.get("key", other); err != nil || calls != before+1 || *got != "key"+other {
			t.Fatalf("with byte %d changed it was opened %d times: %v", i, calls-before, err)
		}
	}
}

func TestDecryptCacheIsBounded(t *testing.T) {
	calls := 0
	c := counting(&calls)
	raw := strings.Repeat("x", 1000)
	const many = 3 * maxCacheBytes / 2000
	for i := range many {
		if _, err := c.get(strconv.Itoa(i), raw); err != nil {
			t.Fatal(err)
		}
		if _, err := c.get("often", raw); err != nil { // the one used last stays
			t.Fatal(err)
		}
	}
	if calls != many+1 {
		t.Errorf("%d records were opened, want %d", calls, many+1)
	}
	sum := 0
	for e := c.recent.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*decryptedRecord[string]).size()
	}
	if c.bytes != sum || sum > maxCacheBytes || sum < maxCacheBytes/2 || len(c.byKey) != c.recent.Len() {
		t.Errorf("%d bytes, counted %d, in %d records by key and %d in order", sum, c.bytes, len(c.byKey), c.recent.Len())
	}
	if _, err := c.get("large", strings.Repeat("x", maxCacheBytes)); err != nil || c.byKey["large"] != nil {
		t.Errorf("a record larger than all others together was kept: %v", err)
	}
}

func TestDecryptCacheEvictsIdleRecords(t *testing.T) {
	calls := 0
	c := counting(&calls)
	get := func(key string) {
		t.Helper()
		if _, err := c.get(key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	get("idle")
	get("busy")
	c.evictIdle()
	get("busy") // used since
	c.evictIdle()
	if c.byKey["idle"] != nil || c.byKey["busy"] == nil || c.recent.Len() != 1 {
		t.Errorf("remembered are %v", c.byKey)
	}
	c.evictIdle()
	c.evictIdle()
	if len(c.byKey) != 0 || c.bytes != 0 || c.recent.Len() != 0 {
		t.Errorf("%d records and %d bytes are left", len(c.byKey), c.bytes)
	}
	if get("busy"); calls != 3 {
		t.Errorf("%d records were opened, want 3", calls)
	}
}

// A connection that was opened for one user must not be handed to another one
// whose grant comes to stand beside it.
// proves: T-3
func TestCachedConnectionServesItsOwnGrantOnly(t *testing.T) {
	s := serverless(t)
	c := Connection{Agent: "https://a.example/", User: "u", Provider: "p"}
	plain, err := encodeConnection(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	const key = "ath:{0123456789abcdef}:conn"
	raw, err := s.keys.seal(connectionKind, key, plain, c.Agent, c.User, c.Provider)
	if err != nil {
		t.Fatal(err)
	}
	its := Grant{Agent: c.Agent, User: c.User, Provider: c.Provider}
	first, err := s.openConnection(key, raw, &its)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.openConnection(key, raw, &its); err != nil || again != first {
		t.Errorf("it was not remembered: %v", err)
	}
	for name, other := range map[string]Grant{
		"agent":    {Agent: "https://b.example/", User: c.User, Provider: c.Provider},
		"user":     {Agent: c.Agent, User: "v", Provider: c.Provider},
		"provider": {Agent: c.Agent, User: c.User, Provider: "q"},
	} {
		if got, err := s.openConnection(key, raw, &other); !errors.Is(err, ErrCorrupt) || got != nil {
			t.Errorf("for another %s: %+v, %v", name, got, err)
		}
	}
}
