package pages

import (
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// What needs no stage of its own runs on one, side by side.
func TestPagesInChromium(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{})
	for name, test := range map[string]func(*testing.T, *stage.Stage){
		"the user consents":                 userConsents,
		"the user denies":                   userDenies,
		"users go back and forth":           usersGoBackAndForth,
		"nobody frames the pages":           nobodyFramesThePages,
		"foreign forms do not decide":       foreignFormsDoNotDecide,
		"providers' words are not repeated": providersWordsAreNotRepeated,
		"headers of every page":             headersOfEveryPage,
		"screenshots":                       screenshotsOfEveryPage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}
