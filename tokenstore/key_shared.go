package tokenstore

import (
	"context"
	"slices"

	"github.com/athd/athd/ath"
)

// A lostShared is a connection that a user's agents share, and that the next consent
// would not find by the primary key alone.
type lostShared struct {
	by []uint32 // the keys by which it is found
	at sharedAt // what is to be
	to place    // where, and what leads there now; raw "": nothing
}

// lostShared looks at shared connections among what was read: by their owners, and
// where a connection has none by its grants.
func (s *Store) lostShared(ctx context.Context, keys *Keyset, some []storedKey) ([]lostShared, error) {
	if len(keys.tagKeys) == 0 {
		return nil, nil
	}
	whose, err := s.sharedAmong(ctx, some)
	if err != nil {
		return nil, err
	}
	var out []lostShared
	for _, at := range whose {
		tags := keys.sharedTags(at.User, at.Provider, at.Destination)
		if tags[0] == at.Connection {
			continue
		}
		found, places, err := s.readPlaces(ctx, tags)
		if err != nil {
			return nil, err
		}
		if found[0].raw != "" {
			continue // another one is found instead
		}
		x := lostShared{at: at}
		if x.to.key, err = sharedAtKey(tags[0]); err != nil {
			return nil, err
		}
		leads := map[ath.Tag]ath.Tag{}
		for _, p := range places {
			if led, err := s.openSharedAt(p.key, p.raw); err == nil {
				leads[tagOf(p.key)] = led.Connection
			}
			if p.key == x.to.key {
				x.to = p
			}
		}
		if there, err := s.leadsSomewhere(ctx, leads[tags[0]]); err != nil {
			return nil, err
		} else if there {
			continue // to this one, or to another that is found instead
		}
		for i, tag := range tags {
			if i > 0 && (tag == at.Connection || leads[tag] == at.Connection) {
				x.by = append(x.by, keys.tagKeys[i])
			}
		}
		if len(x.by) > 0 {
			out = append(out, x)
		}
	}
	return out, nil
}

// sharedAmong returns the shared connections among what was read that are there.
func (s *Store) sharedAmong(ctx context.Context, some []storedKey) ([]sharedAt, error) {
	var tags []ath.Tag
	for i := range some {
		switch at := &some[i]; {
		case at.raw == "":
		case at.form.kind == ownerKind:
			if o, err := s.openOwner(at.key, at.raw); err == nil && o.Agent == "" {
				tags = append(tags, at.tag)
			}
		case at.form.kind == connectionKind && at.owner == "":
			tags = append(tags, at.tag)
		}
	}
	var out []sharedAt
	for batch := range slices.Chunk(tags, readBatch) {
		var read []connectionRead
		err := s.patiently(ctx, func() (err error) {
			read, err = s.readConnections(ctx, batch, false)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := range read {
			if info := &read[i].info; read[i].there && info.Shared {
				out = append(out, sharedAt{User: info.User, Provider: info.Provider, Destination: info.Destination, Connection: batch[i]})
			}
		}
	}
	return out, nil
}

// leadsSomewhere reports whether there is a connection with a tag; "" is none.
func (s *Store) leadsSomewhere(ctx context.Context, tag ath.Tag) (bool, error) {
	connection := ""
	if tag != "" {
		connection, _ = key(tag, string(connectionKind))
	}
	raws, err := s.values(ctx, []string{connection})
	return err == nil && raws[0] != "", err
}

func (s *Store) readPlaces(ctx context.Context, tags []ath.Tag) (found []foundShared, places []place, err error) {
	err = s.patiently(ctx, func() error {
		return s.do(ctx, "shared_state", func(ctx context.Context) (err error) {
			found, places, err = s.readShared(ctx, tags)
			return err
		})
	})
	return found, places, err
}
