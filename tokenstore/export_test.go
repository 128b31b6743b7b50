package tokenstore

import "time"

// CompareOften has the change feed compare more often than each second, for tests
// that would wait for nothing else.
func CompareOften(c *Config) { c.compareEvery = 20 * time.Millisecond }

// StoredKinds are the kinds of all that is stored under names of its own.
func StoredKinds() (out []string) {
	for _, f := range forms {
		if f.kind != healingKind {
			out = append(out, string(f.kind))
		}
	}
	return out
}

// KindAt is the kind of what stands at a key.
func KindAt(key string) string {
	of, _ := kindOf(key)
	return string(of)
}
