package realredis

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRedisServerStartsAndEndsWithItsTest(t *testing.T) {
	s := Start(t)
	ctx := t.Context()
	client := s.Client()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(client.Set(ctx, "string", "needle-1\x00\xff", 0).Err())
	must(client.HSet(ctx, "hash", "needle-2", "needle-3").Err())
	must(client.RPush(ctx, "list", "needle-4").Err())
	must(client.SAdd(ctx, "set", "needle-5").Err())
	must(client.ZAdd(ctx, "zset", redis.Z{Score: 1234567890, Member: "needle-6"}).Err())
	must(client.XAdd(ctx, &redis.XAddArgs{Stream: "stream", Values: []string{"needle-7", "needle-8"}}).Err())

	complete := func(t *testing.T) {
		t.Helper()
		dump := s.Dump(t)
		if len(dump) != 6 || string(dump["string"]) != "needle-1\x00\xff" {
			t.Errorf("the dump is %q", dump)
		}
		for key, needles := range map[string][]string{
			"hash": {"needle-2", "needle-3"}, "list": {"needle-4"}, "set": {"needle-5"}, "zset": {"needle-6"}, "stream": {"needle-7", "needle-8"},
		} {
			for _, needle := range needles {
				if !strings.Contains(string(dump[key]), needle) {
					t.Errorf("the dump of %s lacks %s", key, needle)
				}
			}
		}
	}
	t.Run("a dump holds every type", complete)
	t.Run("data survives the kill", func(t *testing.T) {
		url := s.URL()
		s.Kill()
		if client.Ping(ctx).Err() == nil {
			t.Fatal("it answers")
		}
		s.Start()
		if s.URL() != url {
			t.Error("it came back elsewhere")
		}
		complete(t)
	})
	t.Run("data survives the stop", func(t *testing.T) {
		s.Stop()
		s.Start()
		complete(t)
	})
	t.Run("paused, it does not answer", func(t *testing.T) {
		s.Pause()
		soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		patient := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: s.Password(), ContextTimeoutEnabled: true, MaxRetries: -1})
		defer patient.Close()
		if patient.Ping(soon).Err() == nil {
			t.Error("it does")
		}
		s.Resume()
		must(patient.Ping(ctx).Err())
	})
	t.Run("nobody enters without the password", func(t *testing.T) {
		stranger := redis.NewClient(&redis.Options{Addr: s.Addr()})
		defer stranger.Close()
		if err := stranger.Get(ctx, "string").Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestSentinelPromotesAReplica(t *testing.T) {
	w := StartWatched(t, 2)
	ctx := t.Context()
	old := w.Servers[0]
	if err := old.Client().Set(ctx, "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := old.Client().Wait(ctx, 2, patience).Result(); err != nil || n != 2 {
		t.Fatalf("%d replicas have it: %v", n, err)
	}
	old.Kill()
	next := w.AwaitFailover(old)
	if next == old {
		t.Fatal("the dead master is the new one")
	}
	client := next.Client()
	if got := client.Get(ctx, "key").Val(); got != "value" {
		t.Errorf("the new master has %q", got)
	}
	if err := client.Set(ctx, "key", "next", 0).Err(); err != nil {
		t.Errorf("the new master does not write: %v", err)
	}
}
