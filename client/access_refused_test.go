package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

// A changed gateway answers some requests otherwise; nil goes on to the gateway.
type changed struct {
	*gateway
	by func(line string) (*http.Response, error)
}

func (c changed) RoundTrip(r *http.Request) (*http.Response, error) {
	if resp, err := c.by(r.Method + " " + r.URL.Path); resp != nil || err != nil {
		return resp, err
	}
	return c.gateway.RoundTrip(r)
}

func (g *gateway) changedBy(t *testing.T, config client.AccessConfig, by func(line string) (*http.Response, error)) *client.Access {
	t.Helper()
	config.API = gw + "/ath/proxy/shop"
	a, err := newClient(t, gw, newIdentity(t), registered, func(c *client.Config) { c.Transport = changed{g, by} }).Access(config)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const renewing = "POST " + ath.TokenPath

// A second header is not the server's alone.
//
// proves: P-9
func TestARefusedRenewalWithTwoIDsIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.link = gw + "/ath/heal/sealed"
		shown := false
		a := g.changedBy(t, client.AccessConfig{Token: g.issue("read"), Heal: func(context.Context, string) error {
			shown = true
			return errors.New("no")
		}}, func(line string) (*http.Response, error) {
			if line != renewing {
				return nil, nil //nolint:nilnil // see changed
			}
			resp := g.ends()
			resp.Header.Add("X-ATH-Decision-ID", "dec_2")
			return resp, nil
		})
		time.Sleep(2 * time.Hour)
		if _, err := get(t, a, "read"); client.CodeOf(err) != ath.TokenInvalid || shown {
			t.Errorf("shown %v, %v", shown, err)
		}
	})
}

// T-8: what is over is not asked for again within the same call.
func TestARenewalThatIsOverIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		a, _ := g.access(t, client.AccessConfig{Token: g.issue("read")})
		g.refuses[renewing] = "TOKEN_EXPIRED"
		time.Sleep(2 * time.Hour)
		_, err := get(t, a, "read")
		if _, ok := errors.AsType[*client.RenewalError](err); !ok || g.count(renewing) != 1 {
			t.Errorf("%d renewals, %v", g.count(renewing), err)
		}
	})
}

// A token whose end is not known ends while the user is at the link: it is
// renewed afterwards, though that was tried before.
//
// proves: P-10
func TestATokenThatEndedIsRenewedAfterTheHealing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		token := g.issue("read")
		token.Expires = time.Time{}
		g.ended, g.link = true, gw+"/ath/heal/sealed"
		a, _ := g.access(t, client.AccessConfig{Token: token, Heal: func(context.Context, string) error { g.ended = false; return nil }})
		time.Sleep(2 * time.Hour)
		if by, err := get(t, a, "read"); by != "ath_tk_2" {
			t.Error(by, err)
		}
	})
}

// An app has its own consent origin, also where it is the renewal that finds the
// grant ended, before any call.
//
// proves: P-9, P-10
func TestARenewalOfAnAppHealsAtTheAppsOrigin(t *testing.T) {
	for name, gateway := range map[string]int{"without a gateway": http.StatusNotFound, "beside a gateway of another origin": http.StatusOK} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.ended, g.link = true, "https://consent.example/ath/heal/sealed"
				shown := ""
				a := g.changedBy(t, client.AccessConfig{Token: g.issue("read"), Heal: func(_ context.Context, link string) error {
					shown, g.ended = link, false
					return nil
				}}, func(line string) (*http.Response, error) {
					switch line {
					case "GET /.well-known/ath.json":
						return reply(gateway, map[string]any{"gateway_id": gw, "supported_providers": []any{}}), nil
					case "GET /.well-known/ath-app.json":
						return reply(200, map[string]any{"app_id": "shop", "consent_origin": "https://consent.example", "auth": map[string]any{}}), nil
					}
					return nil, nil //nolint:nilnil // see changed
				})
				time.Sleep(2 * time.Hour)
				if by, err := get(t, a, "read"); by != "ath_tk_2" || shown != g.link {
					t.Errorf("%q with %q: %v", shown, by, err)
				}
			})
		})
	}
}

// What another process kept is looked at once, also where the renewal is refused
// before any call.
func TestARenewalThatIsLostIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Load: func(context.Context) (client.Token, error) { return client.Token{}, nil }})
		g.refuses[renewing] = "TOKEN_REVOKED"
		time.Sleep(2 * time.Hour)
		if _, err := get(t, a, "read"); client.CodeOf(err) != ath.TokenRevoked || g.count(renewing) != 1 {
			t.Errorf("%d renewals, %v", g.count(renewing), err)
		}
	})
}

func TestAServerThatSaysWhenIsNotAskedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		tries := 0
		a := g.changedBy(t, client.AccessConfig{Token: g.issue("read")}, func(line string) (*http.Response, error) {
			if line != renewing {
				return nil, nil //nolint:nilnil // see changed
			}
			tries++
			resp := g.refuse(503, "OAUTH_ERROR", nil)
			resp.Header.Set("Retry-After", "15")
			return resp, nil
		})
		time.Sleep(time.Hour - 25*time.Second)
		for range 3 { // after 0, 7 and 14 seconds
			if by, err := get(t, a, "read"); by != "ath_tk_1" {
				t.Fatal(by, err)
			}
			time.Sleep(7 * time.Second)
		}
		if tries != 1 {
			t.Errorf("%d tries to renew", tries)
		}
	})
}

// What another process keeps may be for another provider: it is not used.
func TestATokenOfAnotherProviderIsNotLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		token, other := g.issue("read"), g.issue("read")
		other.Provider = "bank"
		a, _ := g.access(t, client.AccessConfig{Token: token, Load: func(context.Context) (client.Token, error) { return other, nil }})
		time.Sleep(time.Hour - 10*time.Second)
		if by, err := get(t, a, "read"); by != "ath_tk_3" {
			t.Error(by, err)
		}
	})
}

// P-11: the old token's renewal goes with it; and a server that was away for a
// moment is nobody's no.
func TestAskingAgainAfterANetworkError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, p, away, revoked := newGateway(t), &person{}, true, 0
		a := g.changedBy(t, client.AccessConfig{Token: g.issue("read"), Ask: p.ask()}, func(line string) (*http.Response, error) {
			switch {
			case line == "POST "+ath.AuthorizePath && away:
				return nil, errors.New("connection refused")
			case line == "POST "+ath.RevokePath:
				revoked++
			}
			return nil, nil //nolint:nilnil // see changed
		})
		if _, err := get(t, a, "write"); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("err = %v", err)
		}
		away = false
		if by, err := get(t, a, "write"); by != "ath_tk_2" || revoked != 2 {
			t.Errorf("%s after %d revocations: %v", by, revoked, err)
		}
	})
}
