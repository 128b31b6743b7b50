package realredis

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Dump returns every key of the database with its raw bytes. Of a type that
// holds several values, all of them, names and scores included, come one after
// the other, each on a line: enough to look for what must not be there.
func (s *Server) Dump(t testing.TB) map[string][]byte {
	t.Helper()
	return Dump(t, s.Client())
}

// Dump is [Server.Dump] for any server.
func Dump(t testing.TB, client *redis.Client) map[string][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience) // also when the test has ended
	defer cancel()
	out := map[string][]byte{}
	keys := client.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		value, err := content(ctx, client, keys.Val())
		if err != nil {
			t.Fatalf("dumping %s: %v", keys.Val(), err)
		}
		out[keys.Val()] = []byte(value)
	}
	if err := keys.Err(); err != nil {
		t.Fatalf("listing keys: %v", err)
	}
	return out
}

func content(ctx context.Context, client *redis.Client, key string) (string, error) {
	kind, err := client.Type(ctx, key).Result()
	if err != nil {
		return "", err
	}
	switch kind {
	case "string":
		return client.Get(ctx, key).Result()
	case "none":
		return "", nil // it aged out since the scan
	case "hash":
		all, err := client.HGetAll(ctx, key).Result()
		return lines(all), err
	case "list":
		all, err := client.LRange(ctx, key, 0, -1).Result()
		return strings.Join(all, "\n"), err
	case "set":
		all, err := client.SMembers(ctx, key).Result()
		return strings.Join(all, "\n"), err
	case "zset":
		all, err := client.ZRangeWithScores(ctx, key, 0, -1).Result()
		var b strings.Builder
		for _, z := range all {
			fmt.Fprintln(&b, z.Member, z.Score)
		}
		return b.String(), err
	case "stream":
		all, err := client.XRange(ctx, key, "-", "+").Result()
		var b strings.Builder
		for _, m := range all {
			fmt.Fprintln(&b, m.ID)
			for name, value := range m.Values {
				fmt.Fprintln(&b, name, value)
			}
		}
		return b.String(), err
	}
	return "", fmt.Errorf("a dump of type %s is not known", kind)
}

func lines(all map[string]string) string {
	var b strings.Builder
	for name, value := range all {
		fmt.Fprintln(&b, name, value)
	}
	return b.String()
}
