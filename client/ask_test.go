package client_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

// A person says yes, and is counted.
type person struct {
	mu        sync.Mutex
	approves  []client.More
	consents  []string // what the user was asked for
	secrets   []string
	no        error
	deselects bool
}

func (p *person) ask() *client.Ask {
	return &client.Ask{
		Approve: func(_ context.Context, m client.More) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.approves = append(p.approves, m)
			return nil
		},
		Consent: func(_ context.Context, a *client.Authorization) (ath.Secret, error) {
			time.Sleep(time.Minute)
			p.mu.Lock()
			defer p.mu.Unlock()
			link, err := url.Parse(a.URL)
			if err != nil {
				return ath.Secret{}, err
			}
			asked := strings.Trim(link.Query().Get("scope"), "[]")
			p.consents = append(p.consents, asked)
			if p.deselects {
				asked = "read"
			}
			return ath.NewSecret(asked), p.no
		},
		Registered: func(_ context.Context, c client.Credentials) error {
			p.secrets = append(p.secrets, c.Secret.Reveal())
			return nil
		},
	}
}

// proves: P-11
func TestACallOutsideTheScopesAsksForMore(t *testing.T) {
	for _, tt := range []struct {
		name           string
		approved       []string
		offered        []string
		provider, path string
		secrets        string
	}{
		{"approved already", []string{"read", "write"}, nil, "shop", "write", ""},
		{"the agent has to register for it first", []string{"read"}, []string{"write"}, "shop", "write", "ath_secret_2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, p := newGateway(t), &person{}
				g.approved, g.offered = tt.approved, tt.offered
				var kept []string
				a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Ask: p.ask(), Keep: func(_ context.Context, t client.Token) error {
					kept = append(kept, t.Access.Reveal())
					return nil
				}})
				var done sync.WaitGroup
				for range 8 { // at once: the user is asked once
					done.Go(func() {
						if by, err := get(t, a, "write"); by != "ath_tk_2" {
							t.Error(by, err)
						}
					})
				}
				done.Wait()
				if by, err := get(t, a, "read"); by != "ath_tk_2" { // what it had before, too
					t.Error(by, err)
				}
				if len(p.approves) != 1 || !slices.Equal(p.approves[0].Scopes, []string{"write"}) || !slices.Equal(p.approves[0].Held, []string{"read"}) || p.approves[0].Provider != "shop" {
					t.Errorf("who runs the agent saw %+v", p.approves)
				}
				if !slices.Equal(p.consents, []string{"read write"}) || !slices.Equal(kept, []string{"ath_tk_2"}) || strings.Join(p.secrets, " ") != tt.secrets {
					t.Errorf("asked for %q, kept %q, secrets %q", p.consents, kept, p.secrets)
				}
				if !g.tokens["ath_tk_1"].revoked || g.tokens["ath_tk_2"].revoked {
					t.Error("the old token is not the one that was revoked")
				}
			})
		})
	}
}

// details.next counts for the token's own provider, where it lacks something,
// and as the protocol has it.
//
// proves: P-11
func TestOnlyAProperNextIsFollowed(t *testing.T) {
	next := func(step, provider string, scopes ...string) map[string]any {
		return map[string]any{"step": step, "provider_id": provider, "scopes": scopes}
	}
	for name, n := range map[string]any{
		"another provider":    next("authorize", "bank", "write"),
		"no provider":         next("authorize", "", "write"),
		"another step":        next("open", "shop", "write"),
		"no scope":            next("authorize", "shop"),
		"a scope that it has": next("authorize", "shop", "read"),
		"no scope's syntax":   next("authorize", "shop", "write \x1b[2J"),
		"two in one":          next("authorize", "shop", "write admin"),
		"too many":            next("authorize", "shop", strings.Fields(strings.Repeat("a b c d e f g h ", 3))...),
		"a text":              "authorize",
		"a list of numbers":   map[string]any{"step": "authorize", "provider_id": "shop", "scopes": []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, p := newGateway(t), &person{}
				g.next = n
				a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Ask: p.ask()})
				if _, err := get(t, a, "write"); client.CodeOf(err) != ath.ScopeNotApproved || len(p.approves) > 0 || len(g.asked) != 1 {
					t.Errorf("%v; shown %+v; asked %v", err, p.approves, g.asked)
				}
			})
		})
	}
}

func TestANoIsANo(t *testing.T) {
	no := errors.New("no")
	for _, tt := range []struct {
		name    string
		change  func(*gateway, *person, *client.Ask)
		is      func(error) bool
		devised int // users that were asked
	}{
		{"of who runs the agent", func(_ *gateway, _ *person, a *client.Ask) {
			a.Approve = func(context.Context, client.More) error { return no }
		}, func(err error) bool { return errors.Is(err, no) }, 0},
		{"of the user", func(_ *gateway, p *person, _ *client.Ask) { p.no = &client.CallbackError{Code: "access_denied"} },
			func(err error) bool {
				e, ok := errors.AsType[*client.CallbackError](err)
				return ok && e.Denied()
			}, 1},
		{"of the user, who takes the tick away", func(_ *gateway, p *person, _ *client.Ask) { p.deselects = true },
			func(err error) bool { return client.CodeOf(err) == ath.ScopeNotApproved }, 1},
		{"of the operator", func(g *gateway, _ *person, _ *client.Ask) { g.approved = []string{"read"} }, func(err error) bool {
			e, ok := errors.AsType[*client.NotApprovedError](err)
			return ok && slices.Equal(e.Scopes, []string{"write"}) && client.CodeOf(err) == ath.ScopeNotApproved
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, p := newGateway(t), &person{}
				ask := p.ask()
				tt.change(g, p, ask)
				a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Ask: ask})
				if _, err := get(t, a, "write"); !tt.is(err) {
					t.Errorf("err = %v", err)
				}
				if _, err := get(t, a, "write"); !errors.Is(err, client.ErrAskedBefore) || client.CodeOf(err) != ath.ScopeNotApproved {
					t.Errorf("once more: %v", err)
				}
				if len(p.consents) != tt.devised {
					t.Errorf("users were asked for %q", p.consents)
				}
				if by, err := get(t, a, "read"); by != "ath_tk_1" { // what it has stays
					t.Error(by, err)
				}
				time.Sleep(time.Hour / 2)
				if _, err := get(t, a, "write"); !tt.is(err) {
					t.Errorf("half an hour later: %v", err)
				}
			})
		})
	}
}

func TestAskWantsBothHooks(t *testing.T) {
	c := newClient(t, gw, newIdentity(t))
	for _, ask := range []*client.Ask{{}, {Approve: (&person{}).ask().Approve}, {Consent: (&person{}).ask().Consent}} {
		if _, err := c.Access(client.AccessConfig{Token: client.Token{Access: ath.NewSecret("t")}, API: gw, Ask: ask}); err == nil {
			t.Errorf("%+v was taken", ask)
		}
	}
}
