package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

// proves: P-10
func TestTheSameTokenWorksAgainWhenTheUserHasHealedTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.ended, g.link = true, gw+"/ath/heal/sealed"
		var shown []string
		a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Heal: func(_ context.Context, link string) error {
			shown = append(shown, link)
			return nil
		}})
		var done sync.WaitGroup
		for range 8 {
			done.Go(func() {
				if by, err := get(t, a, "read"); by != "ath_tk_1" {
					t.Error(by, err)
				}
			})
		}
		time.Sleep(3 * time.Minute)
		g.mu.Lock()
		g.ended = false
		g.mu.Unlock()
		done.Wait()
		if len(shown) != 1 || shown[0] != g.link {
			t.Errorf("shown %q", shown)
		}
		if n := g.count("GET /ath/proxy/shop/read"); n > 8*20 {
			t.Errorf("%d calls in three minutes", n)
		}
		g.ended = true // and once more
		go func() { time.Sleep(5 * time.Second); g.mu.Lock(); g.ended = false; g.mu.Unlock() }()
		if by, err := get(t, a, "read"); by != "ath_tk_1" || len(shown) != 2 {
			t.Error(by, err, shown)
		}
	})
}

func TestAGrantThatNobodyHealsIsARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.ended, g.link = true, gw+"/ath/heal/sealed"
		begun := time.Now()
		a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Heal: func(context.Context, string) error { return nil }})
		if _, err := get(t, a, "read"); client.CodeOf(err) != ath.TokenInvalid {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(begun); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("it waited %v", took)
		}
		no := errors.New("there is no user here")
		a, _ = g.access(t, client.AccessConfig{Token: g.issue("read"), Heal: func(context.Context, string) error { return no }})
		if _, err := get(t, a, "read"); !errors.Is(err, no) {
			t.Errorf("err = %v", err)
		}
		a, _ = g.access(t, client.AccessConfig{Token: g.issue("read")})
		if _, err := get(t, a, "read"); client.CodeOf(err) != ath.TokenInvalid {
			t.Errorf("without a hook: %v", err)
		}
		g.link = ""
		a, _ = g.access(t, client.AccessConfig{Token: g.issue("read"), Heal: func(context.Context, string) error { t.Error("shown"); return nil }})
		if _, err := get(t, a, "read"); client.CodeOf(err) != ath.TokenInvalid {
			t.Errorf("without a link: %v", err)
		}
	})
}

// A call waits for ten minutes however often others pass meanwhile.
func TestACallWaitsForTheUserOnceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.link = gw + "/ath/heal/sealed"
		c := newClient(t, gw, newIdentity(t), registered, func(c *client.Config) { c.Transport = halfEnded{g} })
		a, err := c.Access(client.AccessConfig{
			Token: g.issue("read", "write"), API: gw + "/ath/proxy/shop",
			Heal: func(context.Context, string) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		var other sync.WaitGroup
		other.Go(func() {
			for range 20 {
				select {
				case <-done:
					return
				case <-time.After(time.Minute):
				}
				if _, err := get(t, a, "write"); err != nil {
					t.Error(err)
				}
			}
		})
		begun := time.Now()
		if _, err := get(t, a, "read"); client.CodeOf(err) != ath.TokenInvalid {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(begun); took > 11*time.Minute {
			t.Errorf("it waited %v", took)
		}
		close(done)
		other.Wait()
	})
}

// A gateway that finds the grant ended for some calls alone.
type halfEnded struct{ *gateway }

func (h halfEnded) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/read") {
		return h.ends(), nil
	}
	return h.gateway.RoundTrip(r)
}

// A grant whose end shows when the token is renewed heals as well, and so does
// one while whose healing the token ends.
func TestHealingAndRenewingMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.ended, g.link = true, gw+"/ath/heal/sealed"
		shown := 0
		a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Heal: func(context.Context, string) error {
			shown++
			go func() { time.Sleep(5 * time.Minute); g.mu.Lock(); g.ended = false; g.mu.Unlock() }()
			return nil
		}})
		time.Sleep(time.Hour - 2*time.Minute)
		if by, err := get(t, a, "read"); by != "ath_tk_2" || shown != 1 {
			t.Error(by, err, shown)
		}
		g.ended = true
		time.Sleep(2 * time.Hour)
		if by, err := get(t, a, "read"); by != "ath_tk_3" || shown != 2 {
			t.Error(by, err, shown)
		}
	})
}

// proves: P-9
func TestALinkIsShownOnTheConsentOriginOfDiscoveryAlone(t *testing.T) {
	for _, tt := range []struct {
		consent, link string
		shown         bool
	}{
		{"", gw + "/ath/heal/x", true},
		{"https://consent.example", "https://consent.example/ath/heal/x", true},
		{"https://consent.example", gw + "/ath/heal/x", false},
		{"", "https://consent.example/ath/heal/x", false},
		{"", "http://gw.example/ath/heal/x", false},
		{"", "https://gw.example.evil.example/ath/heal/x", false},
		{"", "https://gw.example@evil.example/", false},
		{"", "https://gw.example:443/ath/heal/x", false},
		{"", "https://GW.example/ath/heal/x", false},
		{"", "https://gw.example:8443/ath/heal/x", false},
		{"", `https://gw.example\@evil.example/`, false},
		{"", `https://gw.example/\x`, false},
		{"", "https://gw.example/\x1b[2J", false},
		{"", "https://gw.example/x\nhttps://evil.example/", false},
		{"", "https://gw.example", false},
		{"", "https://gw.exаmple/ath/heal/x", false}, // a Cyrillic а
		{"", "//gw.example/ath/heal/x", false},
		{"", "javascript://gw.example/%0aalert(1)", false},
		{"", gw + "/" + strings.Repeat("x", 1<<14), false},
		{"http://consent.example", "http://consent.example/ath/heal/x", false}, // no origin of a server with TLS
		{"https://consent.example/path", "https://consent.example/path/x", false},
	} {
		t.Run(tt.consent+" "+tt.link[:min(60, len(tt.link))], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.ended, g.link, g.consent = true, tt.link, tt.consent
				shown := ""
				a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Heal: func(_ context.Context, link string) error {
					shown, g.ended = link, false
					return nil
				}})
				_, err := get(t, a, "read")
				if tt.shown != (shown == tt.link) || tt.shown != (err == nil) || !tt.shown && shown != "" {
					t.Fatalf("shown %q, %v", shown, err)
				}
				if e, ok := errors.AsType[*client.LinkError](err); ok {
					if client.CodeOf(err) != ath.TokenInvalid || tt.link != gw && strings.Contains(err.Error(), tt.link) {
						t.Errorf("err = %v, with %v", err, e.Refusal)
					}
				} else if !tt.shown && tt.consent != "http://consent.example" && tt.consent != "https://consent.example/path" {
					t.Errorf("err = %v", err)
				}
			})
		})
	}
}

// Without the header that only the server can send, a refusal is the API's: it
// comes back as it is, and leads nowhere, whatever it says.
func TestNothingThatAnAPISaysIsFollowed(t *testing.T) {
	for _, status := range []int{401, 403} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.fake, g.link = true, gw+"/ath/heal/x"
				g.ended = status == 401
				token := g.issue("read")
				wrong := func() { t.Error("it was followed") }
				a, _ := g.access(t, client.AccessConfig{Token: token,
					Heal: func(context.Context, string) error { wrong(); return nil },
					Ask: &client.Ask{
						Approve: func(context.Context, client.More) error { wrong(); return nil },
						Consent: func(context.Context, *client.Authorization) (ath.Secret, error) { wrong(); return ath.Secret{}, nil },
					}})
				if _, err := get(t, a, "write"); err != nil {
					t.Errorf("what the API said became %v", err)
				}
				if len(g.asked) != 1 {
					t.Errorf("asked %v", g.asked)
				}
			})
		})
	}
}
