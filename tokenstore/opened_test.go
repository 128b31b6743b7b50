package tokenstore

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// counting returns an opened whose records say when they were opened.
func counting(calls *int) *opened[string] {
	return newOpened(func(key, raw string) (string, error) {
		*calls++
		if raw == "bad" {
			return "", ErrCorrupt
		}
		return key + raw, nil
	})
}

func TestOpenedRecordsAreKnownByAllTheirBytes(t *testing.T) {
	calls := 0
	o := counting(&calls)
	for _, step := range []struct {
		key, raw string
		opens    bool
	}{
		{"a", "1", true}, {"a", "1", false}, {"b", "1", true}, {"a", "2", true}, {"a", "1", true}, {"a", "1", false},
		{"b", "1", false}, {"a", "bad", true}, {"a", "bad", true}, {"a", "1", false}, {"", "a1", true},
	} {
		before := calls
		got, err := o.get(step.key, step.raw)
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

func TestOpenedRecordsAreBounded(t *testing.T) {
	calls := 0
	o := counting(&calls)
	raw := strings.Repeat("x", 1000)
	const many = 3 * maxOpened / 2000
	for i := range many {
		if _, err := o.get(strconv.Itoa(i), raw); err != nil {
			t.Fatal(err)
		}
		if _, err := o.get("often", raw); err != nil { // the one used last stays
			t.Fatal(err)
		}
	}
	if calls != many+1 {
		t.Errorf("%d records were opened, want %d", calls, many+1)
	}
	sum := 0
	for e := o.recent.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*openedRecord[string]).size()
	}
	if o.bytes != sum || sum > maxOpened || sum < maxOpened/2 || len(o.byKey) != o.recent.Len() {
		t.Errorf("%d bytes, counted %d, in %d records by key and %d in order", sum, o.bytes, len(o.byKey), o.recent.Len())
	}
	if _, err := o.get("large", strings.Repeat("x", maxOpened)); err != nil || o.byKey["large"] != nil {
		t.Errorf("a record larger than all others together was kept: %v", err)
	}
}
