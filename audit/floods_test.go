package audit

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// written is what was written, whoever writes.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *written) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Reset()
}

// S-10
func TestFloodsOfRefusalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		counted := 0
		l := New(Config{Writer: &out, JSON: true, Count: func(Event) { counted++ }})
		refuse := func(n int, e Event) {
			for i := range n {
				e.DecisionID = fmt.Sprintf("dec_%d", i)
				l.Record(context.Background(), e)
			}
		}
		lines := func(of string) int { return strings.Count(out.String(), of) }
		stranger := Event{Kind: AccessDenied, Reason: "token_unknown", Client: "198.51.100.1"}
		refuse(floodAfter+400, stranger)
		if lines("token_unknown") != floodAfter {
			t.Errorf("%d lines, want %d", lines("token_unknown"), floodAfter)
		}
		if counted != floodAfter+400 {
			t.Errorf("the metric counts %d", counted)
		}
		for name, e := range map[string]Event{
			"another address": {Kind: AccessDenied, Reason: "token_unknown", Client: "198.51.100.2"},
			"another reason":  {Kind: AccessDenied, Reason: "token_missing", Client: "198.51.100.1"},
			"of a grant":      {Kind: AccessDenied, Reason: "token_unknown", Client: "198.51.100.1", UserID: "u"},
			"of an operator":  {Kind: AccessDenied, Reason: "token_unknown", Client: "198.51.100.1", By: "ops"},
			"no address":      {Kind: AccessDenied, Reason: "token_unknown"},
			"no refusal":      {Kind: TokenRevoked, Client: "198.51.100.1"},
		} {
			out.Reset()
			refuse(1, e)
			if lines("\n") != 1 {
				t.Errorf("%s: %q", name, out.String())
			}
		}
		out.Reset()
		time.Sleep(floodMinute)
		synctest.Wait()
		if lines("\n") != 1 || lines(`"count":"400"`) != 1 || lines(`"denial_reason":"token_unknown"`) != 1 ||
			lines(`"client_address":"198.51.100.1"`) != 1 || lines(fmt.Sprintf(`"decision_id":"dec_%d"`, floodAfter+399)) != 1 {
			t.Errorf("the summary: %s", out.String())
		}
		out.Reset()
		refuse(2, stranger)
		if lines("token_unknown") != 2 {
			t.Error("a new minute does not begin again")
		}
		refuse(floodAfter, stranger)
		out.Reset()
		l.Close()
		if lines(`"count":"2"`) != 1 {
			t.Errorf("when the process ends: %s", out.String())
		}
	})
}

func TestFloodsFromManyAddressesAreBounded(t *testing.T) {
	f := floods{later: func() {}}
	now := time.Unix(1_780_000_000, 0)
	swallowed := 0
	for i := range 2 * maxFloods {
		if f.swallow(now, &Event{Kind: AccessDenied, Reason: "token_unknown", Client: fmt.Sprint(i)}) {
			swallowed++
		}
	}
	if len(f.byKey) > maxFloods+1 || swallowed != maxFloods-floodAfter {
		t.Errorf("%d are counted apart, %d events were not written", len(f.byKey), swallowed)
	}
	if told := f.ended(now); len(told) != 1 || told[0].Count != swallowed || told[0].Client != "" {
		t.Errorf("%+v", told)
	}
	if f.swallow(now.Add(2*floodMinute), &Event{Kind: AccessDenied, Reason: "x", Client: "new"}); len(f.byKey) > 1 {
		t.Errorf("%d are kept for good", len(f.byKey))
	}
}

// A grant that is used for too many calls has a limit of its own.
func TestFloodsOfAGrantAreCountedForEachGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		l := New(Config{Writer: &out, JSON: true})
		limited := Event{Kind: AccessDenied, Reason: "rate_limited", Client: "198.51.100.1", UserID: "u1", AgentID: "a", ProviderID: "p", Repeats: true}
		other := limited
		other.UserID = "u2"
		for range floodAfter + 5 {
			l.Record(context.Background(), limited)
		}
		l.Record(context.Background(), other)
		if n, m := strings.Count(out.String(), `"u1"`), strings.Count(out.String(), `"u2"`); n != floodAfter || m != 1 {
			t.Errorf("%d of the one grant and %d of the other are written", n, m)
		}
		out.Reset()
		time.Sleep(floodMinute + time.Second)
		synctest.Wait()
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"count":"5"`) && !strings.Contains(got, `"count":5`) || !strings.Contains(got, `"u1"`) {
			t.Errorf("%s", got)
		}
		if strings.Contains(out.String(), "epeats") {
			t.Error("what is only for the log itself is written")
		}
	})
}
