package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// ErrMoved says that the slots of a cluster moved while it was looked through: a key
// may have been passed over.
var ErrMoved = errors.New("store: the cluster's slots moved meanwhile; look again")

// A stored key is what stands at it, as far as its keyset matters.
type storedKey struct {
	key  string
	tag  ath.Tag
	form form
	raw  string // "": it is gone, or holds nothing that is sealed
	// owner is the bytes of the owner, of what opens for the connection's only.
	owner string
}

// walk calls see with all keys of athd's, some at a time, and what stands at them.
// What is there during all of it is seen at least once. Each step is one operation
// with the store's timeout, and is tried again for a while where Redis does not
// answer.
func (s *Store) walk(ctx context.Context, see func(context.Context, []storedKey) error) error {
	return s.walkKeys(ctx, "ath:{*}:*", scanBatch, func(ctx context.Context, some []string) error {
		found, err := s.look(ctx, some)
		if err != nil {
			return err
		}
		return see(ctx, found)
	}, nil)
}

// walkKeys is walk for keys of one form, and reads nothing that stands at them. The
// server looks at so many keys of any form in one step, after which then is called,
// unless it is nil.
func (s *Store) walkKeys(ctx context.Context, form string, step int64, see func(context.Context, []string) error, then func(context.Context) error) error {
	before, err := s.slots(ctx)
	if err != nil {
		return err
	}
	nodes, err := s.masters(ctx)
	if err != nil {
		return err
	}
	for _, ask := range nodes {
		for cursor := uint64(0); ; {
			var keys []string
			err := s.patiently(ctx, func() error {
				return s.do(ctx, "scan_keys", func(ctx context.Context) error {
					var some *redis.ScanCmd
					err := ask(ctx, func(batch redis.Pipeliner) { some = batch.Scan(ctx, cursor, form, step) })
					if err != nil {
						return err
					}
					found, next, err := some.Result()
					if err == nil {
						keys, cursor = found, next
					}
					return err
				})
			})
			if err != nil {
				return err
			}
			slices.Sort(keys)
			for some := range slices.Chunk(slices.Compact(keys), readBatch) {
				if err := see(ctx, some); err != nil {
					return err
				}
			}
			if cursor == 0 {
				break
			}
			if then != nil {
				if err := then(ctx); err != nil {
					return err
				}
			}
		}
	}
	after, err := s.slots(ctx)
	if err == nil && after != before {
		err = ErrMoved
	}
	return err
}

// slots says which master of a cluster has which slots; "" where there is but one.
func (s *Store) slots(ctx context.Context) (string, error) {
	cluster, is := s.server.client().(*redis.ClusterClient)
	if !is {
		return "", nil
	}
	var out []string
	err := s.patiently(ctx, func() error {
		return s.do(ctx, "slots", func(ctx context.Context) error {
			ranges, err := cluster.ClusterSlots(ctx).Result() //nolint:staticcheck // the client asks it too, so that the ACL has it
			out = nil
			for _, r := range ranges {
				if len(r.Nodes) > 0 {
					out = append(out, fmt.Sprint(r.Start, "-", r.End, " ", r.Nodes[0].ID))
				}
			}
			return err
		})
	})
	slices.Sort(out)
	return strings.Join(out, "\n"), err
}

const (
	// walkPatience is how long a step is tried while Redis does not answer.
	walkPatience = 20 * time.Second
	walkPause    = 100 * time.Millisecond
)

// patiently runs a step of something that takes long anyway again while Redis is not
// available.
func (s *Store) patiently(ctx context.Context, step func() error) error {
	var last error
	for until := time.Now().Add(walkPatience); ; {
		err := step()
		switch {
		case ctx.Err() != nil && last != nil:
			return last // which says more than that there was no time left
		case !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOtherKeyset) || !time.Now().Before(until):
			return err
		}
		last = err
		select {
		case <-ctx.Done():
			return err
		case <-time.After(walkPause):
		}
	}
}

// look reads what stands at keys. Kinds that this athd does not know are read too: a
// newer one may have sealed them.
func (s *Store) look(ctx context.Context, keys []string) ([]storedKey, error) {
	out := make([]storedKey, len(keys))
	var read []string
	for i, at := range keys {
		of, tag := kindOf(at)
		f, known := formOf(of)
		out[i] = storedKey{key: at, tag: tag, form: f}
		switch {
		case known && f.sealed == notSealed && of != userEndedKind:
			read = append(read, "", "")
		case f.sealed == bindsConnection:
			owner, _ := ownerKey(tag)
			read = append(read, at, owner)
		default:
			read = append(read, at, "")
		}
	}
	values, err := s.values(ctx, read)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].raw, out[i].owner = values[2*i], values[2*i+1]
	}
	return out, nil
}
