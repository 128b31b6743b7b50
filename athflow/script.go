package athflow

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"github.com/athd/athd/ath"
)

// Names that are not ASCII are shown as their A-labels, which imitate nothing,
// and beside that in their own letters, for those who can read them. What
// follows is kept simple: it warns where a label mixes scripts that no language
// mixes (the highly restrictive level of Unicode TS 39), and where all of its
// letters look like Latin ones. It is no proof that a name is honest.

// A writing is how a host's name reads to people.
type writing struct {
	Letters string // the name in its own letters; "" for one of ASCII
	Warning string // "": none
}

var names = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.ValidateLabels(true), idna.StrictDomainName(false), idna.CheckHyphens(false))

// writingOf reads a host's A-labels. Not ok: one of them is none that IDNA
// knows, and no registry and no browser takes it.
func writingOf(h ath.Host) (w writing, ok bool) {
	if !strings.Contains("."+h.Name(), ".xn--") {
		return writing{}, true
	}
	letters, err := names.ToUnicode(h.Name())
	if err != nil {
		return writing{}, false
	}
	if again, err := names.ToASCII(letters); err != nil || again != h.Name() {
		return writing{}, false
	}
	w.Letters = letters
	for label := range strings.SplitSeq(letters, ".") {
		switch scripts := scriptsOf(label); {
		case !together(scripts):
			w.Warning = "This domain mixes letters of several scripts (" + strings.Join(scripts, ", ") + "). It may imitate another one."
			return w, true
		case imitates(label):
			w.Warning = "This domain is written in letters that look like others. It may imitate another one."
			return w, true
		}
	}
	return w, true
}

// scriptsOf names the scripts of a label's letters, but for what is common to
// several.
func scriptsOf(label string) []string {
	found := map[string]bool{}
	for _, r := range label {
		for name, table := range unicode.Scripts {
			if name != "Common" && name != "Inherited" && unicode.Is(table, r) {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// together reports whether some language writes in all of these scripts.
func together(scripts []string) bool {
	if len(scripts) <= 1 {
		return true
	}
	for _, language := range [][]string{{"Han", "Hiragana", "Katakana", "Latin"}, {"Han", "Hangul", "Latin"}, {"Han", "Bopomofo", "Latin"}} {
		if !slices.ContainsFunc(scripts, func(s string) bool { return !slices.Contains(language, s) }) {
			return true
		}
	}
	return false
}

// twins are letters, other than plain Latin ones, that look like these.
const twins = "асԁеһіјӏкӏорԛѕтухԝьгѵүԍ" + // Cyrillic
	"αγικνορτυχω" + // Greek
	"հոսցաօզղյ" + // Armenian
	"ıɑɡɩʋɴʀꞵ" // Latin, of phonetics

// imitates reports whether a label could be read as Latin letters: it has some
// that look so, and none but such and ASCII.
func imitates(label string) bool {
	any := false
	for _, r := range label {
		if r < 0x80 {
			continue
		}
		if !strings.ContainsRune(twins, r) {
			return false
		}
		any = true
	}
	return any
}
