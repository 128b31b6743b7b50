package realredis

import (
	"context"
	_ "embed"
	"testing"

	"github.com/redis/go-redis/v9"
)

// snapshot lists and reads all keys in one go.
//
//go:embed dump.lua
var snapshot string

// Dump returns every key of the database with its raw bytes, all of one moment:
// what athd writes or removes meanwhile comes before or after. Of a type that
// holds several values, all of them, names and scores included, come one after
// the other, each on a line, those of a hash or set sorted: enough to look for
// what must not be there, and to see whether anything changed.
func (s *Server) Dump(t testing.TB) map[string][]byte {
	t.Helper()
	return Dump(t, s.Client())
}

// Dump is [Server.Dump] for any server; of a cluster, for one node.
func Dump(t testing.TB, client *redis.Client) map[string][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience) // also when the test has ended
	defer cancel()
	// EVAL_RO is answered by a full server and by a replica, too.
	pairs, err := client.EvalRO(ctx, snapshot, nil).StringSlice()
	if err != nil {
		t.Fatalf("dumping the keys: %v", err)
	}
	out := make(map[string][]byte, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = []byte(pairs[i+1])
	}
	return out
}
