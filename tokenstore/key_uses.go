package tokenstore

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// A KeyUse says what would be lost with a key.
type KeyUse struct {
	Key
	// Missing: the keyset has no such key, so that what it sealed does not open.
	Missing bool `json:"missing,omitzero"`
	// Records are those that it sealed, by their kind; the canary is one.
	Records map[string]int `json:"records,omitempty"`
	// Indexes are those of users in which something stands that the primary's do not
	// have.
	Indexes int `json:"indexes,omitzero"`
	// Shared are connections which a user's agents share, and which the next consent
	// would not find without the key.
	Shared int `json:"shared,omitzero"`
	// Marks are those of users' ends that stand below its tags, and not below the
	// primary's. They cannot be moved, and go within an hour.
	Marks int `json:"marks,omitzero"`
}

// Used reports whether anything would be lost.
func (u *KeyUse) Used() bool {
	return len(u.Records) > 0 || u.Indexes > 0 || u.Shared > 0 || u.Marks > 0
}

// KeyUses say which key of the keyset is needed for what.
type KeyUses struct {
	// Keys are the keyset's, in their order, and behind them those that it lacks.
	Keys []KeyUse `json:"keys"`
	// Nameless are values at the keys of sealed records that name no key, by their
	// kind, where the keyset has no key that gives no name: athd did not write them.
	Nameless map[string]int `json:"nameless,omitempty"`
	// Marks are those of users' ends which an older athd made that does not say of
	// which key their tags are: they may be of any.
	Marks int `json:"marks,omitzero"`
	// MarksUntil is when the last of all marks that need a key other than the primary
	// is gone. Zero: there are none.
	MarksUntil time.Time `json:"marks_until,omitzero"`
	// Looked is at how many of athd's keys in Redis.
	Looked int `json:"looked"`
}

// Of returns what is known of a key.
func (u *KeyUses) Of(id uint32) KeyUse {
	for _, k := range u.Keys {
		if k.ID == id {
			return k
		}
	}
	return KeyUse{Key: Key{ID: id}, Missing: true}
}

// Unused reports whether a key can leave the keyset, and nothing is lost. A key that
// seals is never unused.
func (u *KeyUses) Unused(id uint32) bool {
	k := u.Of(id)
	return !k.Primary && !k.Used() && u.Marks == 0
}

// KeyUses looks through the whole store for what each key of the keyset is needed
// for. Who sealed a record is in its first bytes; indexes of users and shared
// connections stand below tags that follow from the keys, of which owners say whose
// they are. It says how things are while it looks: only if no athd seals with a key
// any more, what it says of that key stays true.
//
// It reads every key of every master, in steps each of which is one operation with
// the store's timeout. [ErrMoved]: look again.
func (s *Store) KeyUses(ctx context.Context) (*KeyUses, error) {
	if err := s.do(ctx, opKeyset, s.sameKeyset); err != nil {
		return nil, err
	}
	keys := s.keys.now()
	w := &useWalk{Store: s, keys: keys, ids: keys.ids(), uses: &KeyUses{Nameless: map[string]int{}}}
	for _, k := range w.keys.Keys() {
		w.uses.Keys = append(w.uses.Keys, KeyUse{Key: k, Records: map[string]int{}})
	}
	if err := s.walk(ctx, w.see); err != nil {
		return nil, err
	}
	return w.uses, nil
}

type useWalk struct {
	*Store
	keys *Keyset
	ids  keyIDs
	uses *KeyUses
}

func (w *useWalk) of(id uint32) *KeyUse {
	at := slices.IndexFunc(w.uses.Keys, func(k KeyUse) bool { return k.ID == id })
	if at < 0 {
		at = len(w.uses.Keys)
		w.uses.Keys = append(w.uses.Keys, KeyUse{Key: Key{ID: id, Named: true}, Missing: true, Records: map[string]int{}})
	}
	return &w.uses.Keys[at]
}

func (w *useWalk) see(ctx context.Context, some []storedKey) error {
	w.uses.Looked += len(some)
	for i := range some {
		w.record(&some[i])
	}
	if err := w.marks(ctx, some); err != nil {
		return err
	}
	lacking, err := w.lackingIndexes(ctx, w.keys, some)
	if err != nil {
		return err
	}
	for _, x := range lacking {
		w.of(x.of).Indexes++
	}
	lost, err := w.lostShared(ctx, w.keys, some)
	if err != nil {
		return err
	}
	for _, x := range lost {
		for _, id := range x.by {
			w.of(id).Shared++
		}
	}
	return nil
}

// marks counts marks of users' ends that do not stand below the primary's tag too.
func (w *useWalk) marks(ctx context.Context, some []storedKey) error {
	primary := w.keys.Primary()
	var needed []string
	for i := range some {
		if some[i].form.kind != userEndedKind || some[i].raw == "" {
			continue
		}
		switch below := markedBelow(some[i].raw); {
		case len(below) == 0:
			w.uses.Marks++
		case slices.Contains(below, primary):
			continue
		default:
			for _, id := range below {
				w.of(id).Marks++
			}
		}
		needed = append(needed, some[i].key)
	}
	if len(needed) == 0 {
		return nil
	}
	return w.do(ctx, "read_keys", func(ctx context.Context) error {
		left := make([]*redis.DurationCmd, len(needed))
		err := w.server.ask(ctx, func(batch redis.Pipeliner) {
			for i, key := range needed {
				left[i] = batch.PTTL(ctx, key)
			}
		})
		if err != nil {
			return err
		}
		for _, l := range left {
			if until := w.now().Add(l.Val()).UTC(); l.Err() == nil && until.After(w.uses.MarksUntil) {
				w.uses.MarksUntil = until
			}
		}
		return nil
	})
}

func (w *useWalk) record(r *storedKey) {
	if r.raw == "" {
		return
	}
	kind := string(r.form.kind)
	switch ids, named := w.ids.sealers(r.raw); {
	case r.form.sealed == notSealed && !(named && slices.Contains(w.ids.named, ids[0])): // no record of a newer athd
	case len(ids) == 0:
		w.uses.Nameless[kind]++
	default:
		for _, id := range ids {
			w.of(id).Records[kind]++
		}
	}
}

// keyIDs are the ids of a keyset's keys, by whether what they seal names them.
type keyIDs struct{ named, nameless []uint32 }

func (k *Keyset) ids() (out keyIDs) {
	for _, key := range k.Keys() {
		if key.Named {
			out.named = append(out.named, key.ID)
		} else {
			out.nameless = append(out.nameless, key.ID)
		}
	}
	return out
}

// sealers are the keys that may have sealed a record: the one that it names, or,
// where the keyset lacks that or it names none, all that give no name. named: it is
// surely that one, or one that the keyset lacks.
func (k *keyIDs) sealers(raw string) (ids []uint32, named bool) {
	id, named := sealedBy(raw)
	if named && (len(k.nameless) == 0 || slices.Contains(k.named, id)) {
		return []uint32{id}, true
	}
	return k.nameless, false
}
