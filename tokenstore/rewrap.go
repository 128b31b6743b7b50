package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// How a rewrap goes on.
const (
	// DefaultRewrapRate is how many keys of Redis a rewrap reads or writes in a second:
	// a tenth of what a Redis does.
	DefaultRewrapRate = 10_000
	// rewrapPatience is how long a rewrap waits for records that somebody is at.
	rewrapPatience = 45 * time.Second
	rewrapPause    = 250 * time.Millisecond
	// maxUnopened bounds [Rewrapped].Unopened.
	maxUnopened = 100
)

// ErrNamelessPrimary says that the key that seals gives its records no name, so that
// nobody could say what needs another one.
var ErrNamelessPrimary = errors.New("store: the key that seals gives records no name: add a key and promote it")

// A Rewrap says how to go on.
type Rewrap struct {
	// Rate is how many keys are read or written in a second at most; 0 is
	// [DefaultRewrapRate].
	Rate int
	// Issuers are those that are configured: what was learnt of one is sealed for its
	// name.
	Issuers []string
	// Progress, if any, is called now and then with what was done so far. It must
	// return quickly.
	Progress func(*Rewrapped)
}

// Rewrapped is what a rewrap did, and what it could not do.
type Rewrapped struct {
	Pass   int `json:"passes"`
	Looked int `json:"looked"` // at so many keys, in all passes
	// Records were sealed again, by their kind.
	Records map[string]int `json:"records"`
	// Indexes were completed; Shared connections can be found by the primary key.
	Indexes int `json:"indexes"`
	Shared  int `json:"shared"`
	// Dropped are notes on refreshes of connections that have ended.
	Dropped int `json:"dropped,omitzero"`
	// Left are records that somebody was at in the last pass: a rewrap later finds
	// them done.
	Left int `json:"left,omitzero"`
	// Unopened are the first records of the last pass that stay as they are.
	Unopened []Unopened `json:"unopened,omitempty"`
	// Unopenable is how many there were.
	Unopenable int `json:"unopenable,omitzero"`
}

// Unopened is a record that stays as it is.
type Unopened struct {
	Record string `json:"record"` // its kind
	Key    string `json:"key"`    // without digests
	Why    string `json:"why"`
}

// Why a record stays as it is.
const (
	whyClosed = "no key of the keyset opens it"
	whyWhose  = "nobody can tell whose connection it is of"
	whyIssuer = "its issuer is not configured"
	whyKind   = "this athd does not know its kind"
)

// Rewrap seals every record with the primary key that another key of the keyset has
// sealed, and puts what users are found by below the primary's tags, so that the
// other keys can go: see [Store.KeyUses]. It may be called at any time, also by
// several at once, again, and while athd with other primary keys are at work: each
// record is replaced only if it is still what was read, keeps its time to live to
// the millisecond, and nothing that is gone comes back. Changes are not announced,
// since nothing has changed for anybody.
//
// It goes over the store again until a pass finds nothing to do. What somebody is
// in the middle of waits for some passes: a session whose code is being redeemed,
// and the note on a refresh that is under way. With [Config].WaitReplicas, that many
// replicas have it all when Rewrap returns nil.
//
// The error says why it ended early; what is done is done, and calling again goes on.
func (s *Store) Rewrap(ctx context.Context, how Rewrap) (Rewrapped, error) {
	if err := s.do(ctx, opKeyset, s.sameKeyset); err != nil {
		return Rewrapped{}, err
	}
	r := newRewrapping(s, how)
	if !slices.Contains(r.ids.named, r.keys.Primary()) {
		return Rewrapped{}, ErrNamelessPrimary
	}
	for begun := time.Now(); ; {
		r.begin(time.Since(begun) > rewrapPatience)
		if err := s.walk(ctx, r.see); err != nil {
			return r.done, err
		}
		r.progress()
		switch {
		case r.wrote == 0 && r.lost == 0 && (r.done.Left == 0 || r.last):
			return r.done, r.confirm(ctx)
		case r.wrote > 0 || r.lost > 0:
			continue
		}
		select {
		case <-ctx.Done():
			return r.done, ctx.Err()
		case <-time.After(rewrapPause):
		}
	}
}

// A rewrapping is one call of [Store.Rewrap].
type rewrapping struct {
	*Store
	how     Rewrap
	keys    *Keyset // all of it with the same
	ids     keyIDs
	issuers map[string]string // by the key of the record
	done    Rewrapped

	// of this pass
	last  bool
	wrote int              // anything
	lost  int              // to somebody who wrote at the same time
	held  map[string][]one // of each master, some records: see confirm

	until time.Time // so much of the rate is used up
}

// one is a record as it is stored.
type one struct{ key, raw string }

func newRewrapping(s *Store, how Rewrap) *rewrapping {
	if how.Rate <= 0 {
		how.Rate = DefaultRewrapRate
	}
	keys := s.keys.now()
	r := &rewrapping{Store: s, how: how, keys: keys, ids: keys.ids(), issuers: map[string]string{}, done: Rewrapped{Records: map[string]int{}}}
	for _, issuer := range how.Issuers {
		if at, err := issuerKey(issuer); err == nil {
			r.issuers[at] = issuer
		}
	}
	return r
}

func (r *rewrapping) begin(last bool) {
	r.done.Pass++
	r.done.Left, r.done.Unopened, r.done.Unopenable = 0, nil, 0
	r.last, r.wrote, r.lost, r.held = last, 0, 0, map[string][]one{}
}

func (r *rewrapping) progress() {
	if r.how.Progress == nil {
		return
	}
	said := r.done
	said.Records, said.Unopened = maps.Clone(said.Records), slices.Clone(said.Unopened)
	r.how.Progress(&said)
}

func (r *rewrapping) unopened(at *storedKey, why string) {
	r.done.Unopenable++
	if len(r.done.Unopened) < maxUnopened {
		r.done.Unopened = append(r.done.Unopened, Unopened{string(at.form.kind), withoutDigest(at.key), why})
	}
}

// pace lets no more than the rate be used.
func (r *rewrapping) pace(ctx context.Context, used int) error {
	now := time.Now()
	if r.until.Before(now) {
		r.until = now
	}
	r.until = r.until.Add(time.Duration(used) * time.Second / time.Duration(r.how.Rate))
	if wait := r.until.Sub(now); wait > time.Millisecond {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return ctx.Err()
}

// see does what is to be done of some keys.
func (r *rewrapping) see(ctx context.Context, some []storedKey) error {
	before := r.wrote
	r.done.Looked += len(some)
	jobs, err := r.reseal(ctx, some)
	if err == nil {
		err = r.write(ctx, jobs)
	}
	if err == nil {
		err = r.completeIndexes(ctx, some)
	}
	if err == nil {
		err = r.placeShared(ctx, some)
	}
	if err != nil {
		return fmt.Errorf("rewrap: %w", err)
	}
	r.progress()
	return r.pace(ctx, len(some)+r.wrote-before)
}
