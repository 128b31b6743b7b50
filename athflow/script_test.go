package athflow

import (
	"strings"
	"testing"

	"golang.org/x/net/idna"

	"github.com/athd/athd/ath"
)

// S-4
func TestNamesThatImitateAreWarnedOf(t *testing.T) {
	for letters, warned := range map[string]string{
		"agents.example.com": "", "münchen.example": "", "пример.example": "", "παράδειγμα.example": "", "例え.example": "", "한국어abc.example": "", "日本語カナかなabc.example": "", "مثال.example": "",
		"pаypal.com": "mixes", "googlе.com": "mixes", "ехаmple.com": "mixes", "例пример.example": "mixes",
		"сосо.com": "look like", "раураl.com": "mixes", "аррӏе.com": "look like", "ɑmazon.com": "look like", "www.сосо.com": "look like",
	} {
		ascii, err := idna.ToASCII(letters)
		if err != nil {
			t.Fatal(letters, err)
		}
		h, err := ath.ParseHost(ascii)
		if err != nil {
			t.Errorf("%s (%s): %v", letters, ascii, err)
			continue
		}
		w, ok := writingOf(h)
		want := letters
		if ascii == letters {
			want = ""
		}
		if !ok || w.Letters != want || !strings.Contains(w.Warning, warned) || (w.Warning == "") != (warned == "") {
			t.Errorf("%s (%s) reads %+v, %v", letters, ascii, w, ok)
		}
	}
	// Letters of both directions in one label: no registry and no browser takes it.
	ascii, err := idna.Punycode.ToASCII("a\u0628c.example")
	if err != nil {
		t.Fatal(err)
	}
	h, err := ath.ParseHost(ascii)
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := writingOf(h); ok {
		t.Errorf("%s reads %+v", ascii, w)
	}
}
