package attest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// proves: A-6
func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	d := newDocuments(Config{Now: func() time.Time { return now }})
	held := func(id string) bool { _, ok := d.look(id); return ok }
	d.keep(&entry{id: "first", doc: &document{}, until: now.Add(time.Minute)})
	d.keep(&entry{id: "second", doc: &document{}, until: now.Add(time.Minute)})
	for i := range maxDocuments - 2 {
		d.keep(&entry{id: fmt.Sprint(i), err: errors.New("x"), until: now.Add(time.Minute)})
	}
	if !held("first") {
		t.Fatal("dropped before the cache was full")
	}
	d.keep(&entry{id: "last", doc: &document{}, until: now.Add(time.Minute)})
	if held("second") || !held("first") || !held("last") {
		t.Error("A-6: what goes when the cache is full is not what was not used for longest")
	}
	if len(d.byID) != maxDocuments || d.recent.Len() != maxDocuments {
		t.Errorf("A-6: %d and %d entries", len(d.byID), d.recent.Len())
	}
	now = now.Add(time.Minute)
	if held("last") || len(d.byID) != maxDocuments-1 {
		t.Error("A-6: what is no longer fresh was found")
	}
}

// proves
func TestFetchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDocuments(Config{Now: time.Now})
		for range maxFetches {
			d.slots.taken <- struct{}{}
		}
		start := time.Now()
		if _, err := d.fetchShared(t.Context(), exampleAgent(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("A-7: a fetch beyond the limit: got %v", err)
		}
		if took := time.Since(start); took != fetchTimeout {
			t.Errorf("A-7: waited %v", took)
		}
		if _, ok := d.look(exampleID); ok {
			t.Error("A-6: our own limit is remembered as the agent's failure")
		}
	})
}
