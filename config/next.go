package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
)

// A Change is what differs between the settings of an athd that runs and those
// that its files say by now.
type Change struct {
	// Taken are the keys of what takes effect at once, and providers as
	// "provider NAME".
	Taken []string
	// Envoy are those keys of Taken that Envoy's generated configuration holds.
	Envoy []string
	// Waiting is what takes effect at a restart, and what that takes.
	Waiting []Waiting
	// Shorter are the sections that lose something that a slip could take away: a
	// token, a rule, a provider. They are taken only if an operator says so.
	Shorter []string
	// Refused says why nothing of the files is taken; "": it is.
	Refused string

	// Before and After say of each of Taken what it was and is, without secrets.
	Before, After map[string]string
}

func (c *Change) take(name, before, after string) {
	c.Taken = append(c.Taken, name)
	c.Before[name], c.After[name] = before, after
}

// A Waiting is a change that waits for a restart.
type Waiting struct {
	Name string // a key, or "provider NAME"
	Why  string // "" where a restart is all that it takes
}

func (w Waiting) String() string {
	if w.Why == "" {
		return w.Name
	}
	return w.Name + " (" + w.Why + ")"
}

// IsZero reports whether there is no difference.
func (c Change) IsZero() bool {
	return len(c.Taken)+len(c.Waiting)+len(c.Shorter) == 0 && c.Refused == ""
}

// Next returns the settings that an athd goes on with which runs with running, and
// whose files say read by now, and what that changes. routes are those of Envoy, as it
// was told them. What waits for a restart stays as it is. Where the change is refused,
// Next returns running itself.
func Next(routes Routes, running, read *Settings) (*Settings, Change) {
	c := Change{Before: map[string]string{}, After: map[string]string{}}
	next := *running
	for _, s := range settings {
		if s.field == "" || s.effect == OfNoEffect || s.effect == ByItself || s.field == "Providers" || s.unchanged(running, read) {
			continue
		}
		switch {
		case s.effect == NeverOn:
			c.development(running.Development, read.Development)
		case s.effect == Live || s.effect == ByEnvoy:
			s.take(&next, read)
			c.take(s.name(), describe(s.value(running).Interface()), describe(s.value(read).Interface()))
			if s.effect == ByEnvoy {
				c.Envoy = append(c.Envoy, s.name())
			}
		case s.field == "TLS" && running.TLS != nil && read.TLS != nil:
			s.take(&next, read)
			c.take(s.name(), describe(running.TLS), describe(read.TLS))
		case s.effect == WithEnvoy:
			c.Waiting = append(c.Waiting, Waiting{Name: s.name(), Why: waitsForEnvoy})
		default:
			c.Waiting = append(c.Waiting, Waiting{Name: s.name()})
		}
	}
	next.AdminTokenFile, next.Warnings = read.AdminTokenFile, read.Warnings
	next.Egress.Own = next.ownListeners() // Envoy's may be others by now
	c.providers(routes, running, read, &next)
	now := read.now()
	c.shorter(running, &next, now)
	if c.Refused == "" && httpapi.HasAdmin(running.AdminTokens, now) && !httpapi.HasAdmin(next.AdminTokens, now) {
		c.Refused = "admin.tokens would hold no token of role admin any more that has not expired: the last one goes at a restart alone"
	}
	if c.Refused != "" {
		return running, Change{Refused: c.Refused}
	}
	return &next, c
}

func (s *Settings) now() time.Time {
	if s.Store.Now != nil {
		return s.Store.Now()
	}
	return time.Now()
}

// development refuses what turns an option on that relaxes a rule.
func (c *Change) development(running, read Development) {
	was, is := reflect.ValueOf(running), reflect.ValueOf(read)
	for i := range was.NumField() {
		key, _, _ := strings.Cut(was.Type().Field(i).Tag.Get("yaml"), ",")
		switch key = "development." + key; {
		case was.Field(i).Bool() == is.Field(i).Bool():
		case is.Field(i).Bool():
			c.Refused = key + " is turned on, which is never done while athd runs: restart it"
		default:
			c.Waiting = append(c.Waiting, Waiting{Name: key})
		}
	}
}

// shorter tells the sections of which less is left. A token that has expired is
// nobody's already.
func (c *Change) shorter(running, next *Settings, now time.Time) {
	holding := func(tokens []httpapi.AdminToken) (n int) {
		for _, t := range tokens {
			if !t.Expired(now) {
				n++
			}
		}
		return n
	}
	for _, section := range []struct {
		name    string
		was, is int
	}{
		{"admin.tokens", holding(running.AdminTokens), holding(next.AdminTokens)},
		{"approval.rules", len(running.Policy.Rules), len(next.Policy.Rules)},
	} {
		if section.is < section.was {
			c.Shorter = append(c.Shorter, fmt.Sprintf("%s has %d in place of %d", section.name, section.is, section.was))
		}
	}
	var gone []string
	for _, p := range running.Providers.All() {
		if next.Providers.Get(p.ID) == nil {
			gone = append(gone, p.ID)
		}
	}
	if len(gone) > 0 {
		c.Shorter = append(c.Shorter, "there is no provider "+strings.Join(gone, ", ")+" any more")
	}
}

// waitsForRoute is what it takes where Envoy's configuration holds a part of a
// provider. To take it at once would send users' tokens where Envoy's route still
// leads, which is not where they belong any more.
const waitsForRoute = "Envoy's configuration has %s: athd bootstrap, give it to Envoy, restart athd"

// waitsForEnvoy is what it takes where both hold a part of a setting.
const waitsForEnvoy = "Envoy's configuration has it, too: athd bootstrap, give it to Envoy, restart athd"

// providers decides on each provider and app of the files.
func (c *Change) providers(routes Routes, running, read, next *Settings) {
	var differs []string
	for _, base := range []struct {
		key     string
		changed bool
	}{
		{"public_url", running.PublicURL != read.PublicURL},
		{"consent_url", running.ConsentURL != read.ConsentURL},
		{"callback", running.CallbackPerProvider != read.CallbackPerProvider},
		{"envoy.destination", running.Envoy.Destination != read.Envoy.Destination},
		{"development", running.Development != read.Development},
	} {
		if base.changed {
			differs = append(differs, base.key)
		}
	}
	var all []*provider.Provider
	for _, p := range read.Providers.All() {
		was := running.Providers.Get(p.ID)
		if was != nil && was.ID != p.ID {
			was = nil // an alias of another one
		}
		wait := func(format string, args ...any) {
			c.Waiting = append(c.Waiting, Waiting{Name: "provider " + p.ID, Why: fmt.Sprintf(format, args...)})
			if was != nil {
				all = append(all, was)
			}
		}
		switch parts := routed(routes[p.ID], p); {
		case was != nil && reflect.DeepEqual(was, p):
			all = append(all, was)
		case len(differs) > 0:
			wait("it is read by %s, which waits", strings.Join(differs, ", "))
		case len(parts) > 0 && (was != nil || routes[p.ID] != nil || running.Envoy.Destination == DestinationByRoute):
			wait(waitsForRoute, strings.Join(parts, ", "))
		default:
			all = append(all, p)
			if was == nil {
				c.take("provider "+p.ID, "", providerChanges(nil, p))
			} else {
				c.take("provider "+p.ID, "there", providerChanges(was, p))
			}
		}
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		// Two of them share a name, of which one waits.
		c.Waiting = append(c.Waiting, Waiting{Name: "providers_file, apps", Why: err.Error()})
		c.Taken = slices.DeleteFunc(c.Taken, func(name string) bool {
			of := strings.HasPrefix(name, "provider ")
			if of {
				delete(c.Before, name)
				delete(c.After, name)
			}
			return of
		})
		return
	}
	for _, p := range running.Providers.All() {
		if now := set.Get(p.ID); now == nil || now.ID != p.ID {
			c.take("provider "+p.ID, "there", "gone")
		}
	}
	next.Providers = set
}
