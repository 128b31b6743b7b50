package provider

import (
	"hash/maphash"
	"maps"
)

// tableShards is in how many parts a [Table] is: of 10,000 entries each has 40.
const tableShards = 256

var tableSeed = maphash.MakeSeed()

// A Table maps names to values. It is immutable: a changed one shares all parts with
// it in which nothing changed, so that one change of 10,000 entries copies some 40 of
// them. The zero Table is empty.
type Table[V any] struct {
	shards *[tableShards]map[string]V
	len    int
}

func shardOf(name string) int { return int(maphash.String(tableSeed, name) % tableShards) }

// Get returns what a name maps to.
func (t Table[V]) Get(name string) (V, bool) {
	if t.shards == nil {
		return *new(V), false
	}
	v, ok := t.shards[shardOf(name)][name]
	return v, ok
}

// Len is how many names there are.
func (t Table[V]) Len() int { return t.len }

// A TableEdit collects changes of a [Table].
type TableEdit[V any] struct {
	table Table[V]
	own   [tableShards]bool // the part is a copy
}

// Edit begins to change a copy.
func (t Table[V]) Edit() *TableEdit[V] {
	e := &TableEdit[V]{table: Table[V]{shards: new([tableShards]map[string]V), len: t.len}}
	if t.shards != nil {
		*e.table.shards = *t.shards
	}
	return e
}

func (e *TableEdit[V]) shard(name string) map[string]V {
	i := shardOf(name)
	if !e.own[i] {
		e.own[i] = true
		if e.table.shards[i] = maps.Clone(e.table.shards[i]); e.table.shards[i] == nil {
			e.table.shards[i] = map[string]V{}
		}
	}
	return e.table.shards[i]
}

// Get returns what a name maps to by now.
func (e *TableEdit[V]) Get(name string) (V, bool) { return e.table.Get(name) }

// Set has a name map to a value.
func (e *TableEdit[V]) Set(name string, v V) {
	s := e.shard(name)
	before := len(s)
	s[name] = v
	e.table.len += len(s) - before
}

// Delete removes a name.
func (e *TableEdit[V]) Delete(name string) {
	if _, there := e.table.Get(name); there {
		delete(e.shard(name), name)
		e.table.len--
	}
}

// Table returns the changed table. The edit must not be used after.
func (e *TableEdit[V]) Table() Table[V] { return e.table }
