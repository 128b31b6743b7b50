package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

const (
	scanBatch = 1000  // keys that the server looks at in one step
	readBatch = 100   // records read in one step
	maxNames  = 10000 // keys held in memory at a time
)

// A Listing is one page of registrations, in the order of their tags: an order
// without a meaning, but the same on every server and at any time.
type Listing struct {
	Agents  []Agent
	Corrupt []string // keys of records that do not open: sealed with another keyset, or tampered with
	Next    ath.Tag  // where the next page starts; "" on the last one
}

// Agents returns up to limit registrations after a tag ("" for the first page),
// those for which keep returns true; corrupt records are named in any case, and
// count towards the limit. What is registered or
// removed meanwhile may be on a page or not; all else is on exactly one.
//
// [ErrOtherKeyset]: none of them would open.
//
// It walks over every key of every master, in steps each of which is one
// operation with the store's timeout: for operators, not for requests.
func (s *Store) Agents(ctx context.Context, after ath.Tag, limit int, keep func(*Agent) bool) (Listing, error) {
	if limit <= 0 {
		return Listing{}, errors.New("store: a listing needs a limit")
	}
	last := "" // the last key that was processed
	if after != "" {
		var err error
		if last, err = agentKey(after); err != nil {
			return Listing{}, err
		}
	}
	if err := s.do(ctx, opKeyset, s.sameKeyset); err != nil {
		return Listing{}, err
	}
	var page Listing
	for {
		keys, more, err := s.keysOf(ctx, "scan_agents", agentKind, last)
		if err != nil {
			return Listing{}, err
		}
		for batch := range slices.Chunk(keys, readBatch) {
			records, err := s.readAgents(ctx, batch)
			if err != nil {
				return Listing{}, err
			}
			for i, r := range records {
				if len(page.Agents)+len(page.Corrupt) == limit {
					page.Next = tagOf(last)
					return page, nil
				}
				last = batch[i]
				switch {
				case r.corrupt:
					page.Corrupt = append(page.Corrupt, batch[i])
				case r.there && keep(&r.agent):
					page.Agents = append(page.Agents, r.agent)
				}
			}
		}
		if !more {
			return page, nil
		}
	}
}

// tagOf returns the tag in a key.
func tagOf(key string) ath.Tag {
	_, rest, _ := strings.Cut(key, "{")
	tag, _, _ := strings.Cut(rest, "}")
	return ath.Tag(tag)
}

// keysOf returns the first keys of a kind behind last, sorted, and whether
// there are more. It keeps no more than maxNames keys at a time, twice while
// it sorts.
func (s *Store) keysOf(ctx context.Context, op string, of kind, last string) (keys []string, more bool, err error) {
	var nodes []asker
	if nodes, err = s.masters(ctx); err != nil {
		return nil, false, err
	}
	trim := func(limit int) {
		slices.Sort(keys)
		if keys = slices.Compact(keys); len(keys) > limit { // SCAN may return a key twice
			keys, more = keys[:limit], true
		}
	}
	for _, ask := range nodes {
		for cursor := uint64(0); ; {
			var found []string
			err := s.do(ctx, op, func(ctx context.Context) (err error) {
				var step *redis.ScanCmd
				err = ask(ctx, func(batch redis.Pipeliner) {
					step = batch.Scan(ctx, cursor, "ath:{*}:"+string(of), scanBatch)
				})
				if err != nil {
					return err
				}
				found, cursor, err = step.Result()
				return err
			})
			if err != nil {
				return nil, false, err
			}
			for _, key := range found {
				if own, err := appendKey(nil, tagOf(key), string(of)); err == nil && string(own) == key && key > last {
					keys = append(keys, key)
				}
			}
			if len(keys) > 2*maxNames {
				trim(maxNames)
			}
			if cursor == 0 {
				break
			}
		}
	}
	trim(maxNames)
	return keys, more, nil
}

// masters returns an asker for each server that holds a part of the keys. A
// cursor is valid on one server only, so that none is asked in place of another.
func (s *Store) masters(ctx context.Context) (nodes []asker, err error) {
	err = s.do(ctx, "masters", func(ctx context.Context) (err error) {
		nodes, err = s.masterNodes(ctx)
		return err
	})
	return nodes, err
}

func (s *Store) masterNodes(ctx context.Context) ([]asker, error) {
	at := s.server.current.Load()
	switch client := at.client.(type) {
	case *redis.Client:
		return []asker{func(ctx context.Context, fill func(redis.Pipeliner)) error {
			return s.server.askOn(ctx, at, fill)
		}}, nil
	case *redis.ClusterClient:
		var mu sync.Mutex
		var nodes []asker
		err := client.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, askOf(node))
			return nil
		})
		return nodes, err
	}
	return nil, fmt.Errorf("store: no listing on a %T", at.client)
}

// A found is a record as a listing reads it: its key may have gone meanwhile.
type found struct {
	agent          Agent
	there, corrupt bool
}

func (s *Store) readAgents(ctx context.Context, keys []string) ([]found, error) {
	out := make([]found, len(keys))
	err := s.do(ctx, "read_agents", func(ctx context.Context) error {
		replies := make([]*redis.StringCmd, len(keys))
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			for i, key := range keys { // in as many slots
				replies[i] = batch.Get(ctx, key)
			}
		})
		if err != nil {
			return err
		}
		for i, reply := range replies {
			raw, err := reply.Result()
			if errors.Is(err, redis.Nil) {
				continue
			}
			if err != nil {
				return err
			}
			out[i].agent, _, err = s.openAgent(keys[i], raw)
			out[i].there, out[i].corrupt = err == nil, err != nil
		}
		return nil
	})
	return out, err
}
