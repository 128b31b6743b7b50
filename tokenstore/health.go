package tokenstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Health is what a store that answers says of itself.
type Health struct {
	Server     string // name and version, such as "redis 7.0.15"; "redis" if it would not tell
	Persistent bool   // it is known to write to disk: a restart loses little or nothing
	Evicts     string // the maxmemory-policy by which it may drop records; "" if none, or not known
	Embedded   bool   // it lives in this process, and everything ends with it
}

// oldest is the first major version that understands all that we send.
const oldest = 7

// Ready asks the server whether it is there and how it is set up, in one
// batch. What it may not be asked (INFO, CONFIG GET) stays unknown.
// ErrUnavailable: it does not answer, or is too old.
func (s *Store) Ready(ctx context.Context) (Health, error) {
	var info, save string
	err := s.do(ctx, "ready", func(ctx context.Context) error {
		batch := s.client.Pipeline()
		ping := batch.Ping(ctx)
		facts := batch.Info(ctx)
		saves := batch.ConfigGet(ctx, "save")
		_, _ = batch.Exec(ctx) // only the ping must succeed
		info, save = facts.Val(), saves.Val()["save"]
		return ping.Err()
	})
	switch {
	case err != nil:
		return Health{}, err
	case s.embedded != nil:
		return Health{Server: Embedded, Embedded: true}, nil
	}
	return judge(info, save)
}

func judge(info, save string) (Health, error) {
	facts := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	h := Health{Server: "redis"}
	if v := facts["redis_version"]; v != "" {
		h.Server = "redis " + v
		// Valkey calls itself Redis 7.2 here, for clients like us.
		major, _, _ := strings.Cut(v, ".")
		if n, err := strconv.Atoi(major); err == nil && n < oldest {
			return Health{}, fmt.Errorf("store: ready: %w: the server is %s, but %d or newer is needed", ErrUnavailable, h.Server, oldest)
		}
	}
	if v := facts["valkey_version"]; v != "" {
		h.Server = "valkey " + v
	}
	if policy := facts["maxmemory_policy"]; policy != "noeviction" {
		h.Evicts = policy
	}
	h.Persistent = facts["aof_enabled"] == "1" || save != ""
	return h, nil
}
