package handshake

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/athflow"
)

// How long consents stand is told to agents where pages tell it to users, and for
// a provider of its own where that is not what holds for all.
// proves: T-8, D-1, D-2
func TestDiscoverySaysHowLongConsentsStand(t *testing.T) {
	const day = 24 * time.Hour
	none, month, week := ath.RenewalTerms{}, ath.RenewalTerms{Max: 90 * day, Idle: 30 * day}, ath.RenewalTerms{Max: 7 * day, Idle: 7 * day}
	seconds := func(t ath.RenewalTerms) api.Renewal {
		return api.Renewal{Max: int64(t.Max / time.Second), Idle: int64(t.Idle / time.Second)}
	}
	for name, test := range map[string]struct {
		consent            string
		all, gallery, shop ath.RenewalTerms
		top                bool // there is one for all
	}{
		"off":                    {consent: athflow.ConsentPage},
		"the same for all":       {consent: athflow.ConsentPage, all: month, gallery: month, shop: month, top: true},
		"one of its own":         {consent: athflow.ConsentPage, all: month, gallery: week, shop: month, top: true},
		"off for one":            {consent: athflow.ConsentPage, all: month, gallery: none, shop: month, top: true},
		"for one alone":          {consent: athflow.ConsentPage, all: none, gallery: none, shop: week},
		"no page, by redirects":  {consent: athflow.ConsentRedirect, all: month, gallery: week, shop: month},
		"no page, and no server": {consent: athflow.ConsentDirect, all: month, gallery: month, shop: week},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(s *settings) {
				s.Consent, s.Renewal = test.consent, test.all
				set := s.Providers.Current()
				set.Get("gallery").Renewal, set.Get("shop").Renewal = test.gallery, test.shop
			})
			found, err := w.client("reader").Discover(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if (found.Gateway.Renewal != nil) != test.top || test.top && *found.Gateway.Renewal != seconds(test.all) {
				t.Errorf("the gateway says %v of all", found.Gateway.Renewal)
			}
			gallery, shop := seconds(test.gallery), seconds(test.shop)
			if test.consent != athflow.ConsentPage {
				gallery, shop = api.Renewal{}, api.Renewal{}
			}
			if got := found.Renewal("gallery"); got != gallery {
				t.Errorf("the gallery: %v, want %v", got, gallery)
			}
			for _, id := range []string{"shop", "default"} {
				if got := found.Renewal(id); got != shop {
					t.Errorf("%s: %v, want %v", id, got, shop)
				}
			}
			found.App = nil
			if got := found.Renewal("shop"); got != shop {
				t.Errorf("the gateway says of the shop %v, want %v", got, shop)
			}
			if got := found.Renewal("nowhere"); got != (api.Renewal{}) {
				t.Errorf("a provider that does not exist has %v", got)
			}
		})
	}
}
