package guides

import (
	"strings"
	"testing"
)

// swapped is the text with the second of each pair in the place of the first, as
// strings.NewReplacer does it; but 127.0.0.1:40007, a port that the kernel chose, is
// not 127.0.0.1:4000 and a 7.
func swapped(text string, pairs []string) string {
	var out strings.Builder
next:
	for i := 0; i < len(text); {
		for p := 0; p < len(pairs); p += 2 {
			theirs := pairs[p]
			rest, is := strings.CutPrefix(text[i:], theirs)
			if !is || theirs == "" || digit(theirs[len(theirs)-1:]) && digit(rest) {
				continue
			}
			out.WriteString(pairs[p+1])
			i += len(theirs)
			continue next
		}
		out.WriteByte(text[i])
		i++
	}
	return out.String()
}

// digit reports whether the text begins with one.
func digit(text string) bool { return text != "" && text[0] >= '0' && text[0] <= '9' }

func TestAnAddressIsSwappedWhereItsPortEnds(t *testing.T) {
	pairs := []string{"127.0.0.1:4000", "127.0.0.1:50123", "shop.example", "127.0.0.1:50124", "https://", "http://"}
	for text, want := range map[string]string{
		"http: 127.0.0.1:40007":                 "http: 127.0.0.1:40007",
		"curl 127.0.0.1:4000":                   "curl 127.0.0.1:50123",
		"127.0.0.1:4000/a 127.0.0.1:4000":       "127.0.0.1:50123/a 127.0.0.1:50123",
		"https://shop.example/7, shop.example7": "http://127.0.0.1:50124/7, 127.0.0.1:501247",
		"":                                      "",
	} {
		if got := swapped(text, pairs); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
