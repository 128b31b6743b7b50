package figures

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// The table holds only if each figure was measured, and each time was as it is to be.
func TestTheTableHoldsOnlyIfEveryFigureDoes(t *testing.T) {
	lines := func(change func(i int, r *row)) string {
		var b strings.Builder
		for i, f := range tables["refresh"] {
			r := row{f.what, fmt.Sprint("figure ", i), true}
			change(i, &r)
			if line, _ := json.Marshal(r); r.What != "" {
				fmt.Fprintf(&b, "%s\n", line)
			}
		}
		return b.String()
	}
	good := lines(func(int, *row) {})
	for name, tt := range map[string]struct {
		text string
		hold bool
	}{
		"all":             {good, true},
		"one not held":    {lines(func(i int, r *row) { r.Holds = i != 3 }), false},
		"one missing":     {lines(func(i int, r *row) { r.What = strings.Repeat(r.What, min(1, i)) }), false},
		"one twice":       {good + strings.SplitAfter(good, "\n")[2], true},
		"one twice, once": {good + strings.Replace(strings.SplitAfter(good, "\n")[2], "true", "false", 1), false},
		"none":            {"", false},
	} {
		var out strings.Builder
		hold, err := Print(&out, "refresh", strings.NewReader(tt.text))
		if err != nil || hold != tt.hold {
			t.Errorf("%s: %v, %v\n%s", name, hold, err, out.String())
		}
		if strings.Contains(out.String(), "missed") == tt.hold || tt.text != "" && !strings.Contains(out.String(), "figure 5") {
			t.Errorf("%s:\n%s", name, out.String())
		}
	}
	if hold, err := Print(&strings.Builder{}, "refresh", strings.NewReader("no JSON")); hold || err == nil {
		t.Error("a file that is none holds")
	}
	if hold, err := Print(&strings.Builder{}, "nowhere", strings.NewReader(good)); hold || err == nil {
		t.Error("a table that is not there holds")
	}
}
