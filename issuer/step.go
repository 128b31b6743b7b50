package issuer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
	"github.com/athd/athd/tokenstore"
)

// step goes on with an issuer, and returns when there is more to do.
func (k *Keeper) step(ctx context.Context, i *kept) (wait time.Duration) {
	defer func() {
		if p := recover(); p != nil { // what one server says must not end athd
			k.Logger.ErrorContext(ctx, "a look at an issuer panicked", "issuer", i.issuer, "panic", fmt.Sprintf("%T", p))
			wait = k.failed(ctx, i, errors.New("a fault of athd"))
		}
	}()
	held, err := k.look(ctx, i)
	if err != nil {
		// Without the store nothing is known of what was accepted, and nothing new
		// is taken. What is known already goes on.
		return k.failed(ctx, i, fmt.Errorf("the store: %w", err))
	}
	if held.Value.Accepted != "" {
		if err := k.adopt(ctx, i, held.Value); err != nil {
			return k.failed(ctx, i, err)
		}
	}
	now := k.Now()
	if left := held.Value.Asked.Add(k.Every).Sub(now); held.Value.Accepted != "" && left > 0 && left <= 2*k.Every {
		i.mu.Lock()
		i.failed, i.failures = nil, 0
		i.mu.Unlock()
		return jitter(left, k.Every/10)
	}
	turn, err := k.Store.Once(ctx, tokenstore.IssuerTag(i.issuer), "issuer-asked", "", turnFor)
	switch {
	case err != nil:
		return k.failed(ctx, i, fmt.Errorf("the store: %w", err))
	case !turn: // another athd is at it, and the change feed tells what it has found
		return jitter(turnFor/4, turnFor/2)
	}
	return k.ask(ctx, i, held)
}

func (k *Keeper) look(ctx context.Context, i *kept) (tokenstore.Held[tokenstore.Issuer], error) {
	k.turns <- struct{}{}
	defer func() { <-k.turns }()
	return k.Store.Issuer(ctx, i.issuer)
}

// ask asks the issuer, and puts into the record what it says.
func (k *Keeper) ask(ctx context.Context, i *kept, held tokenstore.Held[tokenstore.Issuer]) time.Duration {
	all := i.all()
	if len(all) == 0 {
		return time.Hour // it is let go
	}
	p := all[0]
	for _, other := range all {
		if other.PrivateIssuer {
			p = other
		}
	}
	d, err := k.Fetch(ctx, p)
	if err == nil {
		_, err = p.With(d, "")
	}
	if err != nil {
		return k.failed(ctx, i, err)
	}
	text, err := d.Encode()
	if err != nil {
		return k.failed(ctx, i, err)
	}
	next, moves := k.judge(i, held.Value, d, string(text))
	switch err := k.Store.SwapIssuer(ctx, held, next); {
	case errors.Is(err, tokenstore.ErrChanged):
		return 0
	case err != nil:
		return k.failed(ctx, i, fmt.Errorf("the store: %w", err))
	}
	if next.Moved != held.Value.Moved && next.Moved != "" {
		k.held(ctx, i, moves)
	}
	if held.Value.Accepted == "" {
		k.Logger.InfoContext(ctx, "endpoints of the issuer are known", "issuer", i.issuer, "providers", i.names(), "endpoints", endpoints(d), "on_other_hosts", elsewhere(d))
	}
	if err := k.adopt(ctx, i, next); err != nil {
		return k.failed(ctx, i, err)
	}
	i.mu.Lock()
	was := i.failed
	i.failed, i.failures = nil, 0
	i.mu.Unlock()
	if was != nil {
		k.Logger.InfoContext(ctx, "the issuer answers again", "issuer", i.issuer, "providers", i.names())
	}
	return jitter(k.Every, k.Every/10)
}

// judge says what the record becomes by what the issuer says now.
func (k *Keeper) judge(i *kept, was tokenstore.Issuer, now *metadata.Document, text string) (next tokenstore.Issuer, moves []Move) {
	if was.Accepted == "" {
		// Whoever emptied the store has not moved what this athd goes by.
		i.mu.Lock()
		was = i.record
		i.mu.Unlock()
	}
	next = was
	next.Issuer, next.Asked = i.issuer, k.Now().UTC()
	if was.Accepted == "" {
		next.Accepted, next.First = text, now.TokenEndpoint
		return next, nil
	}
	before, err := metadata.Parse([]byte(was.Accepted))
	if err == nil {
		moves = moved(before, now)
	}
	switch {
	case err != nil || len(moves) > 0:
		if next.Moved != text {
			next.Moved, next.MovedSince = text, k.Now().UTC()
		}
	default:
		next.Accepted, next.Moved, next.MovedSince = text, "", time.Time{}
	}
	return next, moves
}

// adopt goes by a record, where that is another one than before.
func (k *Keeper) adopt(ctx context.Context, i *kept, r tokenstore.Issuer) error {
	i.mu.Lock()
	same := r.Accepted == i.record.Accepted && r.First == i.record.First && r.Moved == i.record.Moved
	i.mu.Unlock()
	if same {
		i.mu.Lock()
		i.record = r
		i.mu.Unlock()
		return nil
	}
	d, err := metadata.Parse([]byte(r.Accepted))
	if err != nil {
		return fmt.Errorf("the stored metadata: %w", err)
	}
	all := i.all()
	if len(all) == 0 {
		return nil // it is let go
	}
	if _, err := all[0].With(d, r.First); err != nil {
		return fmt.Errorf("the stored metadata: %w", err)
	}
	var moves []Move
	if later, err := metadata.Parse([]byte(r.Moved)); r.Moved != "" && err == nil {
		moves = moved(d, later)
	}
	i.mu.Lock()
	i.record, i.document, i.moves = r, d, moves
	i.mu.Unlock()
	if all = i.all(); k.apply(ctx, nil, all) != nil {
		return errors.New("the providers cannot be replaced")
	}
	for _, p := range all {
		if unlisted := p.Unlisted(d); len(unlisted) > 0 {
			k.Logger.WarnContext(ctx, "available_scopes that the issuer's metadata does not list", "provider_id", p.ID, "issuer", i.issuer,
				"scopes", unlisted, "hint", "many servers list only some: athctl providers check "+p.ID+" asks")
		}
	}
	return nil
}

// failed remembers why there is nothing new, says it once, and returns when to
// try again.
func (k *Keeper) failed(ctx context.Context, i *kept, err error) time.Duration {
	if ctx.Err() != nil {
		return time.Hour
	}
	i.mu.Lock()
	again := i.failed != nil && i.failed.Error() == err.Error()
	known := i.document != nil
	i.failed = err
	i.failures++
	wait := min(k.Retry<<min(i.failures-1, 10), retryWaiting)
	if known {
		wait = min(k.Retry<<min(i.failures-1, 10), retryKnown)
	}
	i.mu.Unlock()
	if !again {
		hint := "its providers are answered 503 until it answers; it is asked again"
		if known {
			hint = "what it said last goes on; it is asked again"
		}
		k.Logger.WarnContext(ctx, "metadata of the issuer cannot be had", "issuer", i.issuer, "providers", i.names(), "error", err, "hint", hint)
	}
	return jitter(wait/2, wait)
}

// held tells that endpoints moved, and that nobody follows.
func (k *Keeper) held(ctx context.Context, i *kept, moves []Move) {
	for _, p := range i.all() {
		k.Audit.Record(ctx, audit.Event{Kind: audit.EndpointsMoved, ProviderID: p.ID, Upstream: provider.Said(Describe(moves))})
	}
	k.Logger.WarnContext(ctx, "the issuer moves endpoints to another host, which is not followed", "issuer", i.issuer, "providers", i.names(),
		"moves", Describe(moves), "hint", "if that is right: athctl providers accept "+strings.Fields(i.names() + " ID")[0])
}

func (i *kept) names() string {
	var names []string
	for _, p := range i.all() {
		names = append(names, p.ID)
	}
	return strings.Join(names, " ")
}

// jitter is the wait, and up to more beside.
func jitter(wait, more time.Duration) time.Duration {
	return wait + rand.N(max(more, 1))
}
