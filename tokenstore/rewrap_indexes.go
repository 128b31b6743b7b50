package tokenstore

import (
	"context"
	"errors"
	"slices"
	"time"
)

// sharedAtPassed is how long the place of a shared connection stays below the tag of
// a key that no longer seals, once it is below the primary's: longer than anybody
// takes to look at both.
const sharedAtPassed = 24 * time.Hour

// completeIndexes enters what stands in users' indexes below other keys into those
// below the primary's. The others stay as they are: who lists a user's connections
// just now finds each in one of both, and they end by themselves.
func (r *rewrapping) completeIndexes(ctx context.Context, some []storedKey) error {
	lacking, err := r.lackingIndexes(ctx, r.keys, some)
	if err != nil {
		return err
	}
	for _, x := range lacking {
		for entries := range slices.Chunk(x.entries, indexStep) {
			last := time.Time{}
			args := []any{nil}
			for _, e := range entries {
				args = append(args, e.At.UnixMilli(), string(e.Tag))
				if e.At.After(last) {
					last = e.At
				}
			}
			args[0] = r.ttl(last.Add(clockSkew))
			err := r.patiently(ctx, func() error {
				return r.do(ctx, "copy_index", func(ctx context.Context) error {
					return r.run(ctx, r.scripts.copyIndex, ErrChanged, []string{x.to}, args...)
				})
			})
			if err != nil {
				return err
			}
		}
		r.wrote++
		r.done.Indexes++
	}
	return nil
}

// placeShared writes down where shared connections are that the primary key does not
// lead to, and looks after what was written down below other keys.
func (r *rewrapping) placeShared(ctx context.Context, some []storedKey) error {
	lost, err := r.lostShared(ctx, r.keys, some)
	if err != nil {
		return err
	}
	for _, x := range lost {
		sealed, err := r.keys.sealSharedAt(x.to.key, x.at)
		if err != nil {
			return err
		}
		err = r.patiently(ctx, func() error {
			return r.do(ctx, "put_shared_at", func(ctx context.Context) error {
				return r.run(ctx, r.scripts.swapHosts, ErrChanged, []string{x.to.key}, x.to.raw, sealed)
			})
		})
		switch {
		case errors.Is(err, ErrChanged):
			r.lost++
		case err != nil:
			return err
		default:
			r.wrote++
			r.done.Shared++
		}
	}
	for i := range some {
		if some[i].form.kind == sharedAtKind && some[i].raw != "" {
			if err := r.passOn(ctx, &some[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// passOn has the place of a shared connection end, where it is below the primary's
// tag too, and deletes it where the connection has ended.
func (r *rewrapping) passOn(ctx context.Context, stored *storedKey) error {
	at, err := r.openSharedAt(stored.key, stored.raw)
	if err != nil {
		return nil //nolint:nilerr // it is counted among those that do not open
	}
	there, err := r.leadsSomewhere(ctx, at.Connection)
	if err != nil {
		return err
	}
	if !there {
		r.dropPlaces(ctx, []place{{stored.key, stored.raw}})
		return nil
	}
	tags := r.keys.sharedTags(at.User, at.Provider, at.Destination)
	if tags[0] == stored.tag {
		return nil
	}
	found, places, err := r.readPlaces(ctx, tags[:1])
	if err != nil || found[0].raw == "" && len(places) == 0 {
		return err
	}
	err = r.do(ctx, "pass_shared_at", func(ctx context.Context) error {
		return r.run(ctx, r.scripts.passOn, ErrChanged, []string{stored.key}, stored.raw, sharedAtPassed.Milliseconds())
	})
	if errors.Is(err, ErrChanged) {
		return nil // it ends already, or somebody has written it
	}
	return err
}
