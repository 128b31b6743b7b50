package catalog

import (
	"context"
	"time"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// rememberVanished is how long a provider that vanished from a file is known to who
// revokes there.
const rememberVanished = 24 * time.Hour

// A vanished provider was of a file.
type vanished struct {
	provider *provider.Provider // with its endpoints
	since    time.Time
}

// vanish disables providers that are in no file any more, and lets those go that are
// for a day.
func (k *Catalog) vanish(ctx context.Context, gone []*provider.Provider) {
	now := k.Now()
	for id, v := range k.vanished {
		if k.files.Get(id) != nil || now.Sub(v.since) > rememberVanished {
			delete(k.vanished, id)
		}
	}
	for _, p := range gone {
		k.vanished[p.ID] = vanished{p, now}
		k.Logger.WarnContext(ctx, "provider disabled: it is in no file any more", "provider_id", p.ID,
			"hint", "its connections stay sealed, and come back with it; DELETE /ath/admin/providers/"+p.ID+" ends them")
	}
}

// Vanished are the ids of those that were in a file within the last day, and are in none.
func (k *Catalog) Vanished() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var ids []string
	for id, v := range k.vanished {
		if k.Now().Sub(v.since) <= rememberVanished && k.files.Get(id) == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// Known reports whether a provider is of run time, or was of a file within the last day.
func (k *Catalog) Known(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, gone := k.vanished[id]
	return gone || k.entries[tokenstore.ProviderTag(id)] != nil
}
