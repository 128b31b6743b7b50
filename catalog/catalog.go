package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// Config configures a [Catalog].
type Config struct {
	Store *tokenstore.Store // required
	// Issuers takes what is configured, and makes it current. Required.
	Issuers *issuer.Keeper
	// Providers are those that Issuers makes current. Required.
	Providers *provider.Providers
	// Parse reads a run-time provider's fields, with its secret. Required.
	Parse func(id string, config []byte) (*provider.Provider, error)
	// Files are the providers of the files at the start.
	Files  *provider.Set
	Audit  *audit.Log   // required
	Logger *slog.Logger // required

	Now func() time.Time // nil: time.Now
}

// A Catalog is the providers that there are. It is safe for concurrent use.
type Catalog struct {
	Config

	mu         sync.Mutex
	files      *provider.Set
	configured *provider.Set // files and run-time providers, as they are written
	entries    map[ath.Tag]*entry
	ids        map[string]ath.Tag // of entries, by id
	ends       map[string]bool    // ids of those of which connections are to end
	writes     uint64             // how often something was written here
	loaded     bool
	vanished   map[string]vanished // by id

	work chan struct{} // holds one where there may be something to drain
}

// An entry is what is known of one record of the store.
type entry struct {
	Entry
	stamp  tokenstore.ProviderStamp
	former []former
	wrote  uint64 // Catalog.writes, when it was written here; 0: it was not
}

// A former is what a provider was before.
type former struct {
	provider *provider.Provider // nil: this athd cannot read it
	until    time.Time
}

// An Entry is a run-time provider, as operators see it.
type Entry struct {
	ID string // "": the record does not open
	// Provider is as it is written, without what its issuer says of it; nil: this athd
	// cannot read it.
	Provider   *provider.Provider
	Err        error // why not
	State      tokenstore.ProviderState
	Generation uint64
	Created    time.Time
	CreatedBy  string
	Changed    time.Time
	ChangedBy  string
	// Shadowed: a file has the name.
	Shadowed bool
	// Ending says that connections of configurations of before are being ended.
	Ending bool
	// Left is how many connections are yet to be ended, or revoked, by the last look;
	// see [Catalog.Draining].
	Left int
}

// Why nothing is changed. All but [tokenstore.ErrUnavailable] and
// [tokenstore.ErrTooManyProviders] are of this package.
var (
	ErrExists   = errors.New("catalog: there is such a provider")
	ErrFile     = errors.New("catalog: a file has the provider")
	ErrDraining = errors.New("catalog: the provider was removed, and its connections are still being ended")
	ErrNotFound = errors.New("catalog: there is no such provider")
	ErrChanged  = errors.New("catalog: somebody else changed the provider meanwhile")
	ErrEnding   = errors.New("catalog: too many configurations of before have connections that are still being ended")
)

// New returns a Catalog of the files' providers. The store is asked by [Catalog.Load].
func New(c Config) (*Catalog, error) {
	for name, missing := range map[string]bool{
		"Store": c.Store == nil, "Issuers": c.Issuers == nil, "Providers": c.Providers == nil, "Parse": c.Parse == nil,
		"Audit": c.Audit == nil, "Logger": c.Logger == nil,
	} {
		if missing {
			return nil, fmt.Errorf("catalog: %s is required", name)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	k := &Catalog{
		Config: c, files: c.Files, configured: c.Files.Unloaded(), entries: map[ath.Tag]*entry{}, ids: map[string]ath.Tag{},
		ends: map[string]bool{}, vanished: map[string]vanished{}, work: make(chan struct{}, 1),
	}
	return k, c.Issuers.Configure(context.Background(), k.configured)
}

// Loaded reports whether the store's providers were read since athd started. Until
// then nobody can say that there is no such provider.
func (k *Catalog) Loaded() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loaded
}

// Get returns a run-time provider, also one whose record does not open.
func (k *Catalog) Get(id string) (Entry, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[tokenstore.ProviderTag(id)]
	if e == nil {
		return Entry{}, false
	}
	out := e.Entry
	out.ID = id // which a record that does not open does not tell
	return out, true
}

// All returns the run-time providers, ordered by id; those whose records do not
// open come first.
func (k *Catalog) All() []Entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]Entry, 0, len(k.entries))
	for _, e := range k.entries {
		all = append(all, e.Entry)
	}
	slices.SortFunc(all, func(a, b Entry) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// Len is how many run-time providers there are, with those that are being removed and,
// until the store was read again, those that just were.
func (k *Catalog) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.entries)
}

// File returns the provider of the files that has a name; nil: none has.
func (k *Catalog) File(name string) *provider.Provider {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.files.Get(name)
}

// Shadowed are the ids of run-time providers whose names the files have: they serve
// nobody.
func (k *Catalog) Shadowed() []string {
	var out []string
	for _, e := range k.All() {
		if e.Shadowed {
			out = append(out, e.ID)
		}
	}
	return out
}

// UseFiles takes other providers of the files. Those that vanished are disabled: they
// serve nobody, and their connections stay sealed for when they come back.
func (k *Catalog) UseFiles(ctx context.Context, files *provider.Set) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	current := k.Providers.Current()
	var gone []*provider.Provider
	for _, p := range k.files.All() {
		if q := current.Get(p.ID); q != nil && files.Get(p.ID) == nil {
			gone = append(gone, q) // with its endpoints
		}
	}
	before := k.files
	k.files = files
	if err := k.compose(ctx); err != nil {
		k.files = before
		return err
	}
	k.vanish(ctx, gone)
	k.wakeDrain()
	return nil
}

// compose makes files and run-time providers current.
func (k *Catalog) compose(ctx context.Context) error {
	all := k.files.All()
	for _, e := range k.entries {
		if p := k.serves(ctx, e); p != nil {
			all = append(all, p)
		}
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		return err
	}
	return k.use(ctx, set)
}

// serves returns the provider of an entry that requests may use; nil: none.
func (k *Catalog) serves(ctx context.Context, e *entry) *provider.Provider {
	was := e.Shadowed
	e.Shadowed = e.ID != "" && k.files.Get(e.ID) != nil
	if e.Shadowed && !was {
		k.Logger.WarnContext(ctx, "a file has the name of a run-time provider, which serves nobody", "provider_id", e.ID,
			"hint", "rename the one of the file: the API changes and removes nothing that has a file's name")
	}
	if e.Shadowed || e.State != tokenstore.ProviderActive {
		return nil
	}
	return e.Provider
}

func (k *Catalog) use(ctx context.Context, set *provider.Set) error {
	if k.loaded {
		set = set.AsLoaded()
	} else {
		set = set.Unloaded()
	}
	if err := k.Issuers.Configure(ctx, set); err != nil {
		return err
	}
	k.configured = set
	return nil
}

// tell says once that a record cannot be used here.
func (k *Catalog) tell(ctx context.Context, was, next *entry) {
	if next.Err == nil || was != nil && was.Err != nil && was.Err.Error() == next.Err.Error() {
		return
	}
	k.Logger.WarnContext(ctx, "a run-time provider cannot be used by this athd", "provider_id", next.ID, "error", next.Err,
		"hint", "another version of athd may have written it, or a preset of it is gone: it serves nobody here; all others do")
}

// put takes what was read, or written, of some records, and makes it current.
func (k *Catalog) put(ctx context.Context, some map[ath.Tag]*entry) error {
	var gone []string
	come := map[string]*provider.Provider{}
	for tag, next := range some {
		was := k.entries[tag]
		if was != nil && was.ID != "" {
			gone = append(gone, was.ID)
			delete(k.ids, was.ID)
			delete(k.ends, was.ID)
		}
		if next == nil {
			delete(k.entries, tag)
			continue
		}
		if next.ID == "" && was != nil {
			next.ID = was.ID // it does not open any more
		}
		k.tell(ctx, was, next)
		k.entries[tag] = next
		if next.ID != "" {
			k.ids[next.ID] = tag
			if next.State == tokenstore.ProviderDraining || len(next.former) > 0 {
				k.ends[next.ID] = true
			}
		}
		if p := k.serves(ctx, next); p != nil {
			come[p.ID] = p
		}
	}
	gone = slices.DeleteFunc(gone, func(id string) bool {
		p := k.configured.Get(id)
		return p == nil || p.ID != id || !p.Runtime
	})
	set, err := k.configured.With(gone, slices.Collect(maps.Values(come))...)
	if err != nil {
		return err
	}
	return k.use(ctx, set)
}
