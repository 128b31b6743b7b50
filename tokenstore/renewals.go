package tokenstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// usedPart is the part of a renewal's idle time after which a use is written down:
// of uses at once one writes, and most write nothing.
const usedPart = 32

// PutRenewal stores a standing consent together with the first grant of it, in one
// step: see [Store.PutGrant]. ErrNotFound: the connection is gone, and nothing was
// stored.
func (s *Store) PutRenewal(ctx context.Context, renewal ath.RenewalToken, r Renewal, token ath.Token, g Grant) error {
	if renewal.IsZero() || renewal.Tag() != token.Tag() || r.Terms.IsZero() {
		return errors.New("store: a renewal has terms, and its token the tag of its connection")
	}
	key, err := renewalKey(renewal.Tag(), renewal.Digest().String())
	if err != nil {
		return err
	}
	sealed, err := s.sealRenewal(key, r, nil)
	if err != nil {
		return err
	}
	return s.putGrant(ctx, "put_renewal", token, g, &putRenewal{key: key, digest: renewal.Digest(), value: r, sealed: sealed, today: r.Terms})
}

// Renewal returns what a renewal token stands for, also past its end and revoked.
func (s *Store) Renewal(ctx context.Context, renewal ath.RenewalToken) (Held[Renewal], error) {
	if renewal.IsZero() {
		return Held[Renewal]{}, errNoTag
	}
	key, err := renewalKey(renewal.Tag(), renewal.Digest().String())
	if err != nil {
		return Held[Renewal]{}, err
	}
	return get(ctx, s, "renewal", key, s.openRenewal)
}

// Renew stores one more grant of a standing consent as it was read, in one step:
// none can be put of one that has ended. That it was used now is written down where
// that makes a difference by the terms that hold today, and by those the connection
// stays; what it is found and ended by stays by its own. ErrChanged: it has ended, or
// another use was written down meanwhile: read again. ErrNotFound: the connection is
// gone. Nothing was stored then.
func (s *Store) Renew(ctx context.Context, old Held[Renewal], today ath.RenewalTerms, token ath.Token, g Grant) error {
	if old.key == "" {
		return errNotHeld
	}
	digest, err := parseDigest(digestOf(old.key))
	if err != nil {
		return err
	}
	p := &putRenewal{key: old.key, digest: digest, value: old.Value, old: old.raw, sealed: old.raw, today: today}
	if terms := old.Value.Terms.Within(today); g.Issued.Sub(old.Value.Used) >= terms.Idle/usedPart {
		p.value.Used = g.Issued
		if p.sealed, err = s.sealRenewal(old.key, p.value, old.x); err != nil {
			return err
		}
	}
	return s.putGrant(ctx, "renew", token, g, p)
}

// DeleteRenewal deletes a standing consent and the first grant of it without a
// trace, as [Store.DeleteGrant] does.
func (s *Store) DeleteRenewal(ctx context.Context, renewal ath.RenewalToken, token ath.Token) error {
	keys, err := keysOf(token)
	if err != nil {
		return err
	}
	digest := renewal.Digest().String()
	key, err := renewalKey(token.Tag(), digest)
	if err != nil {
		return err
	}
	return s.do(ctx, "delete_renewal", func(ctx context.Context) error {
		return s.run(ctx, s.scripts.deleteGrant, nil, []string{keys.grant, keys.grants(), key}, token.Digest().String(), renewalMember(digest))
	})
}

// EndRenewal puts a tombstone in place of a standing consent, and then in place of
// each grant that was made with it; the connection ends if nothing else is left.
// Once it has returned nil no token comes of it any more (V-6), and every decision
// refuses those that did (RFC 7009, section 2.1). It may be called again, and waits
// for replicas as [Store.Revoke] does.
func (s *Store) EndRenewal(ctx context.Context, old Held[Renewal], at time.Time) error {
	if old.key == "" {
		return errNotHeld
	}
	h := s.renewalHolder(old)
	if err := s.endHolder(ctx, h, at); err != nil {
		return err
	}
	tag := tagOf(old.key)
	connection, err := key(tag, string(connectionKind))
	if err != nil {
		return err
	}
	_, all, err := s.holdersOf(ctx, connection, tag)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.renewal != h.digest {
			continue
		}
		if err := s.endHolder(ctx, g, at); err != nil {
			return err
		}
	}
	return nil
}

// endRenewalOf ends the standing consent that a grant came with, or by.
func (s *Store) endRenewalOf(ctx context.Context, g *Grant, at time.Time) error {
	if g.Renewal.IsZero() {
		return nil
	}
	h, err := s.readHolder(ctx, g.Connection, renewalMember(g.Renewal.String()))
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt): // no token comes of it
		return nil
	case err != nil:
		return err
	}
	return s.endHolder(ctx, h, at)
}

// A putRenewal is what is stored of a renewal beside a grant.
type putRenewal struct {
	key    string
	digest ath.Digest
	value  Renewal
	old    string // as it was read; "": there is none yet
	sealed string // what it becomes
	today  ath.RenewalTerms
}

// putGrant stores a grant, and with r the renewal that it comes with, or by.
func (s *Store) putGrant(ctx context.Context, op string, token ath.Token, g Grant, r *putRenewal) error {
	keys, err := keysOf(token)
	if err != nil {
		return err
	}
	if g.Connection != token.Tag() {
		return errors.New("store: a grant's token must carry the tag of its connection")
	}
	// By today's terms the connection lives. By its own the renewal does, whatever
	// holds tomorrow: whoever ends what the agent has must find it until then (V-6).
	lives, found, digest := g.Expires, g.Expires, ath.Digest{}
	var end time.Time
	if r != nil {
		if r.value.Connection != g.Connection || r.value.Agent != g.Agent || r.value.Ref() != g.Ref() {
			return errors.New("store: a renewal's grants are of its agent and connection")
		}
		digest = r.digest
		if today, _ := r.value.Ends(r.today); today.After(lives) {
			lives = today
		}
		if end, _ = r.value.Ends(r.value.Terms); end.After(found) {
			found = end
		}
	}
	if g.Renewal != digest {
		return errors.New("store: a grant names the renewal that it comes with, and no other")
	}
	sealed, err := s.sealGrant(keys.grant, g, nil)
	if err != nil {
		return err
	}
	note, err := s.note(g.Agent, g.User, g.Connection, found)
	if err != nil {
		return err
	}
	ownerKey, owner, err := s.sealOwner(g.Connection, owner{Agent: g.connectionAgent(), User: g.User, Provider: g.Provider})
	if err != nil {
		return err
	}
	names := []string{keys.connection, keys.grant, keys.grants(), ownerKey}
	args := []any{sealed, s.ttl(g.Expires.Add(s.rememberEnded)), token.Digest().String(), g.Expires.UnixMilli(), s.ttl(lives), owner, holdOf(g.Agent)}
	if r != nil {
		names = append(names, r.key)
		args = append(args, r.old, r.sealed, s.renewalTTL(&r.value), renewalMember(r.digest.String()), end.UnixMilli(), s.now().Add(-clockSkew).UnixMilli())
	}
	return s.do(ctx, op, func(ctx context.Context) error {
		var noted func() error
		var put *redis.Cmd
		kept := func() error { return nil }
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			noted = note(ctx, batch)
			put = s.scripts.putGrant.plain.Eval(ctx, batch, names, args...)
			if r != nil && r.sealed != r.old { // new, or used for the first time in a while
				kept = s.noteStanding(ctx, batch, g.Connection, found)
			}
		})
		if err != nil {
			return err
		}
		switch done, err := put.Int(); {
		case err != nil || done == 1:
			return errors.Join(err, noted(), kept())
		case done == putChanged:
			return ErrChanged
		}
		return ErrNotFound
	})
}

// putChanged is what the script says where the renewal is not as it was read.
const putChanged = 2
