package tokenstore

import "time"

// CompareOften has the change feed compare more often than each second, for tests
// that would wait for nothing else.
func CompareOften(c *Config) { c.compareEvery = 20 * time.Millisecond }
