package tokenstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// masterOf names the server that a key is on, among those of a cluster.
func (r *rewrapping) masterOf(key string) string {
	cluster, is := r.server.client().(*redis.ClusterClient)
	if !is {
		return ""
	}
	node, err := cluster.MasterForKey(context.Background(), key) // as the client knows it: it asks nobody
	if err != nil {
		return ""
	}
	return node.Options().Addr
}

// confirm waits until enough replicas have all that was written, by whomever: a
// replica has what a master wrote before, once it has what the master writes now. So
// one record of each master is written once more.
func (r *rewrapping) confirm(ctx context.Context) error {
	if r.waitReplicas == 0 {
		return nil
	}
	for _, some := range r.held {
		err := errUnconfirmed
		for _, held := range some {
			if err = r.confirmOn(ctx, held); !errors.Is(err, ErrNotFound) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("rewrap: %w", err)
		}
	}
	return nil
}

func (r *rewrapping) confirmOn(ctx context.Context, held one) error {
	return r.patiently(ctx, func() error {
		for {
			err := r.do(ctx, "rewrap", func(ctx context.Context) error {
				return r.confirmed(ctx, r.scripts.rewrap, ErrChanged, []string{held.key}, held.raw, held.raw)
			})
			if !errors.Is(err, ErrChanged) {
				return err
			}
			// Somebody has written it since.
			raws, err := r.values(ctx, []string{held.key})
			switch {
			case err != nil:
				return err
			case raws[0] == "":
				return ErrNotFound
			}
			held.raw = raws[0]
		}
	})
}

// hold keeps some records of each master, since any may end.
func (r *rewrapping) hold(key, raw string) {
	const enough = 8
	if r.waitReplicas == 0 {
		return
	}
	if on := r.masterOf(key); key == canaryKey || len(r.held[on]) < enough {
		r.held[on] = append(r.held[on], one{key, raw})
	}
}
