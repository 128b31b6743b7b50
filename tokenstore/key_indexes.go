package tokenstore

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A lackingIndex is one of a user below the tag of a key other than the primary,
// with entries that the user's index below the primary's tag lacks.
type lackingIndex struct {
	of      uint32 // the key
	to      string // the index below the primary's tag
	entries []RevocationEntry
}

// A userIndex is one of a user, as it is looked at.
type userIndex struct {
	*storedKey
	entries []RevocationEntry
	user    string // "": nobody can tell
}

// leadsTo is the kind of what the entries of an index are tags of.
func (x *userIndex) leadsTo() kind {
	if x.form.kind == waitingKind {
		return revocationKind
	}
	return connectionKind
}

// lackingIndexes looks at the indexes of users among what was read. An index of
// which nobody can tell whose it is leads to nothing: it is passed over, as is what
// leads to nothing in others.
func (s *Store) lackingIndexes(ctx context.Context, keys *Keyset, some []storedKey) ([]lackingIndex, error) {
	all, err := s.userIndexes(ctx, some)
	if err != nil {
		return nil, err
	}
	var out []lackingIndex
	var read []string
	var from []userIndex
	for _, x := range all {
		tags := keys.userTags(x.user)
		of := slices.Index(tags, x.tag)
		if of <= 0 {
			continue // the primary's, or that of a key which is gone
		}
		to, err := key(tags[0], string(x.form.kind))
		if err != nil {
			return nil, err
		}
		out, read, from = append(out, lackingIndex{of: keys.tagKeys[of], to: to}), append(read, to), append(from, x)
	}
	there, err := s.readWhole(ctx, read)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].entries, err = s.lacking(ctx, &from[i], there[i]); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(out, func(x lackingIndex) bool { return len(x.entries) == 0 }), nil
}

// userIndexes reads the indexes among what was read, and whose they are. Those of
// which nobody can tell are left out.
func (s *Store) userIndexes(ctx context.Context, some []storedKey) ([]userIndex, error) {
	var all []userIndex
	var read, says []string
	for i := range some {
		if at := &some[i]; at.form.byUser && at.form.kind != userEndedKind {
			all, read = append(all, userIndex{storedKey: at}), append(read, at.key)
		}
	}
	entries, err := s.readWhole(ctx, read)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].entries = entries[i]
		first := ""
		if len(entries[i]) > 0 {
			first = all[i].saysWhose(entries[i][len(entries[i])-1].Tag) // it ends last
		}
		says = append(says, first)
	}
	raws, err := s.values(ctx, says)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].user = s.saidUser(says[i], raws[i])
		if all[i].user == "" {
			if all[i].user, err = s.userOf(ctx, &all[i]); err != nil {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(all, func(x userIndex) bool { return x.user == "" }), nil
}

// saysWhose is the key of the record that says of which user an entry is.
func (x *userIndex) saysWhose(tag ath.Tag) string {
	says := ownerKind
	if x.form.kind == waitingKind {
		says = revocationKind
	}
	at, _ := key(tag, string(says)) // "" of an entry that athd did not write
	return at
}

func (s *Store) saidUser(key, raw string) string {
	if raw == "" {
		return ""
	}
	if of, _ := kindOf(key); of == ownerKind {
		o, err := s.openOwner(key, raw)
		if err != nil {
			return ""
		}
		return o.User
	}
	r, _, err := s.openRevocation(key, raw)
	if err != nil {
		return ""
	}
	return r.User
}

// userOf asks all that the entries of an index lead to.
func (s *Store) userOf(ctx context.Context, x *userIndex) (string, error) {
	for some := range slices.Chunk(x.entries, readBatch) {
		tags, says := make([]ath.Tag, len(some)), make([]string, len(some))
		for i := range some {
			tags[i], says[i] = some[i].Tag, x.saysWhose(some[i].Tag)
		}
		raws, err := s.values(ctx, says)
		if err != nil {
			return "", err
		}
		for i := range says {
			if user := s.saidUser(says[i], raws[i]); user != "" {
				return user, nil
			}
		}
		if x.form.kind != userConnsKind {
			continue
		}
		// Connections without an owner: the grants tell.
		read, err := s.readConnections(ctx, tags, false)
		if err != nil {
			return "", err
		}
		for i := range read {
			if read[i].there {
				return read[i].info.User, nil
			}
		}
	}
	return "", nil
}

// lacking returns the entries of an index that another has not, or not for as long,
// and that lead to something.
func (s *Store) lacking(ctx context.Context, x *userIndex, there []RevocationEntry) (out []RevocationEntry, err error) {
	has := make(map[ath.Tag]RevocationEntry, len(there))
	for _, e := range there {
		has[e.Tag] = e
	}
	var lead []string
	entries := slices.DeleteFunc(slices.Clone(x.entries), func(e RevocationEntry) bool {
		same, ok := has[e.Tag]
		return ok && !same.At.Before(e.At)
	})
	for _, e := range entries {
		at, _ := key(e.Tag, string(x.leadsTo()))
		lead = append(lead, at)
	}
	raws, err := s.values(ctx, lead)
	if err != nil {
		return nil, err
	}
	for i, raw := range raws {
		if raw != "" {
			out = append(out, entries[i])
		}
	}
	return out, nil
}

// readWhole reads all of each index.
func (s *Store) readWhole(ctx context.Context, indexes []string) ([][]RevocationEntry, error) {
	out := make([][]RevocationEntry, len(indexes))
	left := make([]int, len(indexes))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		pages := make([]*redis.ZSliceCmd, len(left))
		err := s.patiently(ctx, func() error {
			return s.do(ctx, "read_indexes", func(ctx context.Context) error {
				err := s.server.ask(ctx, func(batch redis.Pipeliner) {
					for i, at := range left {
						pages[i] = batch.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
							Key: indexes[at], Start: len(out[at]), Stop: len(out[at]) + indexStep - 1,
						})
					}
				})
				for _, p := range pages {
					if err == nil && !redis.HasErrorPrefix(p.Err(), "WRONGTYPE") {
						err = p.Err()
					}
				}
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		var more []int
		for i, at := range left {
			for _, z := range pages[i].Val() {
				out[at] = append(out[at], entryOf(z))
			}
			if len(pages[i].Val()) == indexStep {
				more = append(more, at)
			}
		}
		left = more
	}
	return out, nil
}

// values reads what stands at keys; "" where there is nothing, or no string. Keys
// that are "" are passed over.
func (s *Store) values(ctx context.Context, keys []string) ([]string, error) {
	out := make([]string, 0, len(keys))
	for some := range slices.Chunk(keys, readBatch) {
		got := make([]*redis.StringCmd, len(some))
		if !slices.ContainsFunc(some, func(key string) bool { return key != "" }) {
			out = append(out, make([]string, len(some))...)
			continue
		}
		err := s.patiently(ctx, func() error {
			return s.do(ctx, "read_keys", func(ctx context.Context) error {
				err := s.server.ask(ctx, func(batch redis.Pipeliner) {
					for i, key := range some {
						if key != "" {
							got[i] = batch.Get(ctx, key)
						}
					}
				})
				for _, g := range got {
					if err == nil && g != nil && !errors.Is(g.Err(), redis.Nil) && !redis.HasErrorPrefix(g.Err(), "WRONGTYPE") {
						err = g.Err()
					}
				}
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		for _, g := range got {
			value := ""
			if g != nil {
				value = g.Val()
			}
			out = append(out, value)
		}
	}
	return out, nil
}
