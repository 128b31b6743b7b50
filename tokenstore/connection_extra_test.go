package tokenstore

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// What a newer athd keeps in x of a shared connection survives the consents that an
// older one stores.
func TestANewConsentKeepsWhatANewerVersionStored(t *testing.T) {
	s, err := Open(Config{URL: Embedded, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ctx := t.Context()
	c := Connection{User: "u", Provider: "p", Destination: "d", Access: ath.NewSecret("one"), Refresh: ath.NewSecret("r1"), Created: time.Now()}
	until := time.Now().Add(time.Hour)
	if _, err := s.ShareConnection(ctx, "https://a.example/", c, until, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	at, err := s.sharedState(ctx, "u", "p", "d", nil)
	if err != nil {
		t.Fatal(err)
	}
	// As a newer one leaves it.
	at.x = extra(`{"later":{"n":1}}`)
	if err := s.share(ctx, at, "https://a.example/", c, until, 1); err != nil {
		t.Fatal(err)
	}
	c.Access = ath.NewSecret("two")
	c.RefreshStatus.RefreshExpires = until
	if _, err := s.ShareConnection(ctx, "https://b.example/", c, until, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	got, err := s.sharedState(ctx, "u", "p", "d", nil)
	if err != nil {
		t.Fatal(err)
	}
	now, _, err := s.openConnectionOf(got.key, got.raw, got.ref)
	if err != nil || !now.Access.Equal("two") {
		t.Errorf("the newer tokens are not there: %v", err)
	}
	var x struct {
		Later struct{ N int }
	}
	if err := json.Unmarshal(got.x, &x); err != nil || x.Later.N != 1 {
		t.Errorf("x is %s, %v", got.x, err)
	}
}
