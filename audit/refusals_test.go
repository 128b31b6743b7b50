package audit

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestTheLastRefusalsAreRemembered(t *testing.T) {
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	l := New(Config{Writer: io.Discard, Now: func() time.Time { now = now.Add(time.Second); return now }})
	defer l.Close()
	mine := Refusal{DecisionID: "dec_1", Code: "SCOPE_NOT_APPROVED", Reason: "scope_missing", AgentID: "https://agent.example/", Method: "GET", Path: "/x"}
	l.Refused(mine, true)
	mine.DecisionID = "dec_2"
	l.Refused(mine, true)
	for i := range 1000 { // strangers, who push out nobody but each other
		l.Refused(Refusal{Reason: "token_missing", Path: fmt.Sprintf("/%d", i)}, false)
	}
	all := l.Refusals()
	if len(all) != maxRefusals+1 || all[0].Path != "/999" || all[0].Time != now {
		t.Fatalf("%d, the newest %+v", len(all), all[0])
	}
	oldest := all[len(all)-1]
	if oldest.DecisionID != "dec_2" || oldest.Count != 2 || oldest.Path != "/x" || oldest.AgentID == "" {
		t.Errorf("two alike are %+v", oldest)
	}
	if n := cap(l.refusals.others); n > 2*maxRefusals {
		t.Errorf("a flood takes space for %d", n)
	}
	l.Refused(Refusal{Path: strings.Repeat("x", 1<<20), Method: strings.Repeat("y", 1<<20)}, false)
	if last := l.Refusals()[0]; len(last.Path) != maxRefusalText || len(last.Method) != maxRefusalText {
		t.Errorf("texts of %d and %d bytes", len(last.Path), len(last.Method))
	}
}
