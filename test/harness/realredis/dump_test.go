package realredis

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// What is tested goes on while it is looked at: athd writes a connection's
// records together, and removes them together.
func TestADumpIsOfOneMoment(t *testing.T) {
	nodes := append(StartCluster(t, 1), Start(t))
	for i, name := range []string{"a node of a cluster", "a server alone"} {
		t.Run(name, func(t *testing.T) {
			server := nodes[i]
			ctx, cancel := context.WithCancel(t.Context())
			var churn sync.WaitGroup
			defer churn.Wait()
			defer cancel()
			for n := range 2 {
				client := server.Client()
				values, index := make([]string, 50), fmt.Sprintf("{%d}:index", n)
				for k := range values {
					values[k] = fmt.Sprintf("{%d}:value:%d", n, k)
				}
				write := func(pipe redis.Pipeliner) error {
					for _, key := range values {
						pipe.Set(ctx, key, key, 0)
					}
					return pipe.SAdd(ctx, index, index).Err()
				}
				remove := func(pipe redis.Pipeliner) error {
					return pipe.Del(ctx, slices.Concat(values, []string{index})...).Err()
				}
				if _, err := client.TxPipelined(ctx, write); err != nil {
					t.Fatal(err)
				}
				churn.Go(func() {
					for ctx.Err() == nil {
						client.TxPipelined(ctx, remove)
						client.TxPipelined(ctx, write)
					}
				})
			}
			for range 300 {
				dump := server.Dump(t)
				for n := range 2 {
					held := 0
					for key, value := range dump {
						if key[1] == byte('0'+n) {
							held++
							if string(value) != key {
								t.Fatalf("%s holds %q", key, value)
							}
						}
					}
					if held != 0 && held != 51 {
						t.Fatalf("%d of 51 keys that come and go together", held)
					}
				}
			}
		})
	}
}

func TestADumpIsOfAFullServerAndOfAReplica(t *testing.T) {
	master := Start(t)
	replica, client := StartReplica(t, master), master.Client()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Wait(t.Context(), 1, patience).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas have it: %v", n, err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]*Server{"full": master, "replica": replica} {
		if dump := server.Dump(t); len(dump) != 1 || string(dump["key"]) != "value" {
			t.Errorf("%s: %q", name, dump)
		}
	}
}
