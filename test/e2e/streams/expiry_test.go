package streams

import (
	"slices"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/streams"
)

// lost is after what time an end that has not come is none.
const lost = 20 * time.Second

// The life of a token that a test waits for: until then the exchange is open.
const life = 3 * time.Second

// Every kind of exchange ends when its token does, and none before: by the reply's
// header alone, and where exchanges are watched. Where they are only bounded, that
// the token is revoked meanwhile changes nothing.
// proves: T-6
func TestExchangesEndWithTheirToken(t *testing.T) {
	for _, how := range append(slices.Clip(watched), struct{ name, envoy string }{name: "bounded"}) {
		t.Run(how.name, func(t *testing.T) {
			w := newWorld(t, setup{envoy: how.envoy})
			var seen table
			all := make([]*trial, 0, 16)
			// One after the other, so that each has all of its token's life to open in.
			for i, k := range streams.Kinds() {
				x := &trial{kind: k, h: w.hold(appOf(k), life)}
				w.openAll(t, []*trial{x})
				if how.envoy == "" && i%2 == 0 {
					if err := w.revoke(1, x.h, x.h.token.Secret()); err != nil {
						t.Fatal(err)
					}
				}
				all = append(all, x)
			}
			for _, x := range all {
				end, ok := x.s.Wait(x.h.expires.Add(lost))
				if !ok {
					t.Errorf("%s goes on %v after its token", x.kind.Name, lost)
					continue
				}
				after := end.At.Sub(x.h.expires)
				seen.seen(x.kind.Name, "ended after its token", ms(after))
				seen.seen(x.kind.Name, "its last byte", ms(x.s.Last().Sub(x.h.expires)))
				seen.seen(x.kind.Name, "how", end.How)
				if after < -100*time.Millisecond || after > fault {
					t.Errorf("%s ended %v after its token: %s", x.kind.Name, after, end)
				}
			}
			seen.print(t, "Exchanges at the end of their token: "+how.name)
			w.noneLeft(t)
		})
	}
}
