package vault_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

var errDead = errors.New("this athd is dead")

// A peer is one athd of a chaos, as far as it can be killed and stopped: whatever
// it does to Redis or the provider goes through here.
type peer struct {
	vault.Store
	oauth    vault.Refresher
	endpoint *endpoint
	cut      *atomic.Bool // the provider is out of reach

	mu      sync.Mutex
	dead    bool
	stopped chan struct{}   // closed when it goes on; nil: it runs
	open    map[string]bool // refresh tokens of calls whose outcome is not stored
}

// runs waits until the athd is not stopped; false: it is dead.
func (p *peer) runs() bool {
	for {
		p.mu.Lock()
		stopped, dead := p.stopped, p.dead
		p.mu.Unlock()
		if dead || stopped == nil {
			return !dead
		}
		<-stopped
	}
}

func (p *peer) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped != nil
}

// kill ends it, and all that it was about to do.
func (p *peer) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	p.strike()
}

// stop is SIGSTOP, and what it returns is SIGCONT.
func (p *peer) stop() (goOn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = make(chan struct{})
	p.strike()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(p.stopped)
		p.stopped = nil
	}
}

func (p *peer) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// strike marks the calls that are under way as struck. p.mu is held.
func (p *peer) strike() {
	for refresh := range p.open {
		p.endpoint.struck(refresh)
	}
}

func (p *peer) RefreshTokens(ctx context.Context, of *provider.Provider, refresh ath.Secret, scopes ath.Scopes) (provider.Tokens, error) {
	if !p.runs() {
		return provider.Tokens{}, errDead
	}
	p.mu.Lock()
	p.open[refresh.Reveal()] = true
	p.mu.Unlock()
	if p.cut.Load() {
		p.endpoint.struck(refresh.Reveal())
	}
	tokens, err := p.oauth.RefreshTokens(ctx, of, refresh, scopes)
	if !p.runs() {
		return provider.Tokens{}, errDead
	}
	if err == nil {
		p.endpoint.read(refresh.Reveal(), p)
	}
	return tokens, err
}

// through does something at Redis. outcome: it stores that of a call.
func (p *peer) through(outcome *tokenstore.Refresh, do func() error) error {
	if !p.runs() {
		return errDead
	}
	err := do()
	if !p.runs() {
		return errDead
	}
	if outcome != nil && err == nil {
		p.mu.Lock()
		delete(p.open, outcome.State.Connection.Refresh.Reveal())
		p.mu.Unlock()
	}
	return err
}

func (p *peer) RefreshState(ctx context.Context, ref tokenstore.ConnectionRef) (s tokenstore.RefreshState, err error) {
	err = p.through(nil, func() error { s, err = p.Store.RefreshState(ctx, ref); return err })
	return s, err
}

func (p *peer) BeginRefresh(ctx context.Context, r *tokenstore.Refresh, lease time.Duration) error {
	return p.through(nil, func() error { return p.Store.BeginRefresh(ctx, r, lease) })
}

func (p *peer) RenewLease(ctx context.Context, r *tokenstore.Refresh, lease time.Duration) error {
	return p.through(nil, func() error { return p.Store.RenewLease(ctx, r, lease) })
}

func (p *peer) FinishRefresh(ctx context.Context, r *tokenstore.Refresh, next *tokenstore.Connection, keep time.Duration) error {
	return p.through(r, func() error { return p.Store.FinishRefresh(ctx, r, next, keep) })
}

func (p *peer) FailRefresh(ctx context.Context, r *tokenstore.Refresh, next *tokenstore.Attempt) error {
	return p.through(r, func() error { return p.Store.FailRefresh(ctx, r, next) })
}
