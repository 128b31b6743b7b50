package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
	"github.com/athd/athd/tokenstore"
)

// A Status is what is known of an issuer.
type Status struct {
	Issuer    string
	Providers []string // ids
	Known     bool     // the endpoints are
	Asked     time.Time
	Failed    error // why it could not be asked last; nil: it could
	// Moves are held back until they are accepted by their digest.
	Moves      []Move
	MovedSince time.Time
	Digest     string
}

// Status tells of every issuer.
func (k *Keeper) Status() []Status {
	var all []Status
	for _, i := range k.all() {
		all = append(all, i.status())
	}
	return all
}

// Of tells of a provider's issuer; ok is false if its endpoints are written.
func (k *Keeper) Of(providerID string) (s Status, ok bool) {
	if i := k.of(providerID); i != nil {
		return i.status(), true
	}
	return Status{}, false
}

func (k *Keeper) of(providerID string) *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.configured.Get(providerID); p != nil && p.Discovered {
		return k.issuers[p.Issuer]
	}
	return nil
}

func (i *kept) status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := Status{
		Issuer: i.issuer, Known: i.document != nil, Asked: i.record.Asked, Failed: i.failed,
		Moves: slices.Clone(i.moves), MovedSince: i.record.MovedSince,
	}
	for _, p := range i.providers {
		s.Providers = append(s.Providers, p.ID)
	}
	if i.record.Moved != "" {
		s.Digest = digestOf(i.record.Moved)
	}
	return s
}

// Recall returns a provider that is configured no more with what its issuer said
// last.
func (k *Keeper) Recall(ctx context.Context, p *provider.Provider) (*provider.Provider, error) {
	held, err := k.Store.Issuer(ctx, p.Issuer)
	if err != nil {
		return nil, err
	}
	d, err := metadata.Parse([]byte(held.Value.Accepted))
	if err != nil {
		return nil, err
	}
	return p.With(d, held.Value.First)
}

// digestOf names what an operator accepts, so that it is what was shown.
func digestOf(document string) string { return ath.DigestOf(document).String()[:16] }

// Why nothing is accepted.
var (
	ErrNotHeld = errors.New("issuer: nothing is held back")
	ErrOther   = errors.New("issuer: it is other metadata by now")
)

// Accept follows the metadata that is held back, for a provider's issuer and so
// for all providers of that issuer, on every athd. digest is that of [Status].
// commit puts it on record before; nothing is done where it cannot.
func (k *Keeper) Accept(ctx context.Context, providerID, digest string, commit func(moves []Move) error) error {
	i := k.of(providerID)
	if i == nil {
		return ErrNotHeld
	}
	held, err := k.Store.Issuer(ctx, i.issuer)
	if err != nil {
		return err
	}
	next := held.Value
	switch {
	case next.Moved == "":
		return ErrNotHeld
	case digestOf(next.Moved) != digest:
		return ErrOther
	}
	if err := commit(i.status().Moves); err != nil {
		return err
	}
	next.Accepted, next.Moved, next.MovedSince = next.Moved, "", time.Time{}
	switch err := k.Store.SwapIssuer(ctx, held, next); {
	case errors.Is(err, tokenstore.ErrChanged):
		return ErrOther
	case err != nil:
		return err
	}
	if err := k.adopt(ctx, i, next); err != nil {
		return fmt.Errorf("accepted, and cannot be used: %w", err)
	}
	i.awake()
	return nil
}
