package leak_test

import (
	"testing"

	"github.com/athd/athd/test/harness/leak"
)

// A watch knows each kind of secret that athd gives out by its shape.
func TestAWatchGathersEachKindOfSecret(t *testing.T) {
	w := leak.Of(t)
	for n, kind := range []string{"ath_tk", "ath_rt", "ath_secret", "ath_code", "ath_sess"} {
		w.Text(`{"x": "` + kind + `_0123456789abcdefghij0123456789"}`)
		if got := w.Secrets(); len(got) != n+1 {
			t.Errorf("%s: %v", kind, got)
		}
	}
}
