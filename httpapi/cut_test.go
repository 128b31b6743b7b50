package httpapi

import (
	"strings"
	"testing"
)

func TestWhatCostsTooMuchToReadIsCut(t *testing.T) {
	list := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	for name, c := range map[string]struct{ data, head, over string }{
		"nothing":           {"", "", ""},
		"a long text":       {`{"x":"` + strings.Repeat("é", 30_000) + `"}`, `{"x":"` + strings.Repeat("é", 30_000) + `"}`, ""},
		"as much as may be": {list(1024), list(1024), ""},
		"one item more":     {list(1025), "[" + strings.Repeat("1,", 1023) + "1", "more than 1024 objects, lists and items"},
		"levels":            {strings.Repeat("[", 2000), strings.Repeat("[", 1024), "more than 1024 objects, lists and items"},
		"objects":           {strings.Repeat(`{"":`, 2000), strings.Repeat(`{"":`, 1024), "more than 1024 objects, lists and items"},
		"escapes":           {strings.Repeat(`\`, 4096), strings.Repeat(`\`, 4096), ""},
		"one escape more":   {strings.Repeat(`\`, 4097), "", "more than 4096 escaped characters"},
	} {
		t.Run(name, func(t *testing.T) {
			head, over := cutJSON([]byte(c.data))
			if string(head) != c.head || over != c.over {
				t.Errorf("%d bytes, %q; want %d, %q", len(head), over, len(c.head), c.over)
			}
		})
	}
}
