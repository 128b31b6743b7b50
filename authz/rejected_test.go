package authz

import (
	"context"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// healer is a vault that gives another token, or does not.
type healer struct {
	s       *stored
	gives   string // the access token afterwards; "": none
	expires time.Time
	outcome vault.Rejection
	also    func()
	calls   int
	ref     tokenstore.ConnectionRef
	token   ath.Fingerprint
}

func (h *healer) rejected(_ context.Context, p *provider.Provider, ref tokenstore.ConnectionRef, token ath.Fingerprint) vault.Rejection {
	h.calls++
	h.ref, h.token = ref, token
	if h.gives != "" {
		c := *h.s.connection
		c.Access, c.Expires = ath.NewSecret(h.gives), h.expires
		h.s.connection = &c
	}
	if h.also != nil {
		h.also()
	}
	return h.outcome
}

// rejecting is holding, at a provider whose 401s are healed.
func rejecting(t *testing.T) (*stored, *Decider, Held, *healer, *[]vault.Rejection) {
	t.Helper()
	s, d, held := holding(t)
	h := &healer{s: s, gives: "another-token", outcome: vault.RejectedRenewed}
	var seen []vault.Rejection
	d.config.Rejected = h.rejected
	d.config.ObserveRejected = func(of string, outcome vault.Rejection) {
		if of != "shop" {
			t.Errorf("of provider %q", of)
		}
		seen = append(seen, outcome)
	}
	d.config.Providers.Current().Get("shop").RetryOn401 = true
	return s, d, held, h, &seen
}

func TestACallThatTheAPIRejectedGetsTheNextToken(t *testing.T) {
	_, d, held, h, seen := rejecting(t)
	if got := d.Rejected(t.Context(), held).Reveal(); got != "Bearer another-token" {
		t.Errorf("%q", got)
	}
	if h.calls != 1 || h.ref.User != "user-1" || h.ref.Tag != held.Tag || h.token != held.Credential {
		t.Errorf("%+v", h)
	}
	if got := d.Rejected(t.Context(), held).Reveal(); got != "Bearer another-token" || h.calls != 1 {
		t.Errorf("who comes later: %q after %d calls", got, h.calls)
	}
	if len(*seen) != 2 || (*seen)[0] != vault.RejectedRenewed || (*seen)[1] != vault.RejectedRenewed {
		t.Errorf("%v", *seen)
	}
}

// proves: V-4
func TestACallThatLostItsGrantGetsNoToken(t *testing.T) {
	lose := map[string]func(*stored){
		"revoked":             func(s *stored) { s.grant.Revoked = now },
		"expired":             func(s *stored) { s.grant.Expires = now },
		"suspended":           func(s *stored) { s.agents[agentID].Suspended = true },
		"scope taken away":    func(s *stored) { s.agents[agentID].Approvals[0].Approved = nil },
		"approval over":       func(s *stored) { s.agents[agentID].ApprovalExpires = now },
		"connection ended":    func(s *stored) { s.connection = nil },
		"another destination": func(s *stored) { c := *s.connection; c.Destination = "elsewhere"; s.connection = &c },
	}
	for name, take := range lose {
		t.Run(name+" before", func(t *testing.T) {
			s, d, held, h, seen := rejecting(t)
			take(s)
			if got := d.Rejected(t.Context(), held); !got.IsZero() || h.calls != 0 || (*seen)[0] != vault.RejectedNotHeld {
				t.Errorf("%v, %d calls, %v", got, h.calls, *seen)
			}
		})
		t.Run(name+" meanwhile", func(t *testing.T) {
			s, d, held, h, seen := rejecting(t)
			h.also = func() { take(s) }
			if got := d.Rejected(t.Context(), held); !got.IsZero() || (*seen)[0] != vault.RejectedNotHeld {
				t.Errorf("%v, %v", got, *seen)
			}
		})
	}
}

func TestWithoutAnotherTokenTheAPIs401Stands(t *testing.T) {
	for _, outcome := range vault.Rejections() {
		if outcome == vault.RejectedRenewed {
			continue
		}
		_, d, held, h, seen := rejecting(t)
		h.gives, h.outcome = "", outcome
		if got := d.Rejected(t.Context(), held); !got.IsZero() || (*seen)[0] != outcome {
			t.Errorf("%s: %v, %v", outcome, got, *seen)
		}
	}
	t.Run("the next token is over, too", func(t *testing.T) {
		_, d, held, h, _ := rejecting(t)
		h.expires = now
		if got := d.Rejected(t.Context(), held); !got.IsZero() {
			t.Error(got)
		}
	})
	t.Run("the same token came again", func(t *testing.T) {
		_, d, held, h, _ := rejecting(t)
		h.gives = upstream
		if got := d.Rejected(t.Context(), held); !got.IsZero() {
			t.Error(got)
		}
	})
	t.Run("the provider's 401s are its own", func(t *testing.T) {
		_, d, held, h, seen := rejecting(t)
		d.config.Providers.Current().Get("shop").RetryOn401 = false
		if got := d.Rejected(t.Context(), held); !got.IsZero() || h.calls != 0 || (*seen)[0] != vault.RejectedOff {
			t.Errorf("%v, %d calls, %v", got, h.calls, *seen)
		}
	})
	t.Run("Redis is away", func(t *testing.T) {
		s, d, held, h, seen := rejecting(t)
		s.err = tokenstore.ErrUnavailable
		if got := d.Rejected(t.Context(), held); !got.IsZero() || h.calls != 0 || (*seen)[0] != vault.RejectedStore {
			t.Errorf("%v, %d calls, %v", got, h.calls, *seen)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		_, d, _, h, _ := rejecting(t)
		d.config.ObserveRejected = func(string, vault.Rejection) {}
		if got := d.Rejected(t.Context(), Held{}); !got.IsZero() || h.calls != 0 {
			t.Error(got)
		}
	})
}

// What panics gives no token, and the API's 401 stands.
func TestAHealerThatPanicsGivesNoToken(t *testing.T) {
	_, d, held, h, seen := rejecting(t)
	h.also = func() { panic("s3cret") }
	if got := d.Rejected(t.Context(), held); !got.IsZero() {
		t.Error("there is a token")
	}
	if len(*seen) != 1 || (*seen)[0] != vault.RejectedProvider {
		t.Errorf("%v", *seen)
	}
}
