package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Health is what a store that answers says of itself.
type Health struct {
	Server     string // name and version, such as "redis 7.0.15"; "redis" if it would not tell
	Persistent bool   // it is known to write to disk: a restart loses little or nothing
	Evicts     string // the maxmemory-policy by which it may drop records; "" if none, or not known
	Embedded   bool   // it lives in this process, and everything ends with it

	// Refuses says in words why it takes no writes at present, "" if it does:
	// calls go on, and what takes rights away without growing, but nobody
	// registers, consents or gets a token.
	Refuses string
	// Unproven: the ACL forbids WAIT, so that a master cannot be told from a
	// replica that takes writes or has lost its disk.
	Unproven bool
	// UsedMemory and MaxMemory are in bytes; 0: not known, or no limit. Of a
	// cluster those of one node.
	UsedMemory, MaxMemory int64
}

// oldest is the first major version that understands all that we send.
const oldest = 7

var errTooOld = errors.New("the server is too old")

// facts are what the server was asked.
type facts struct{ info, save, canary, refuses string }

// Ready asks the server whether it is there and how it is set up, in one
// batch, and whether our keyset opens what it holds. What it may not be asked
// (INFO, CONFIG GET) stays unknown. ErrUnavailable: it does not answer, is no
// master, or is too old; [ErrOtherKeyset]: it was written with another keyset.
// [Reason] has words for each.
func (s *Store) Ready(ctx context.Context) (Health, error) {
	var f facts
	err := s.do(ctx, opReady, func(ctx context.Context) (err error) {
		if f, err = s.facts(ctx); err != nil {
			return err
		}
		err = s.checkKeyset(ctx, f.canary)
		s.foreign.Store(errors.Is(err, ErrOtherKeyset))
		switch {
		case err != nil && f.refuses != "" && !isAnswer(err) && isReply(err):
			return nil // it would not take the canary either
		case err != nil:
			return err
		}
		return s.server.astray()
	})
	switch {
	case err != nil:
		return Health{}, err
	case s.embedded != nil:
		return Health{Server: Embedded, Embedded: true}, nil
	}
	h, err := readInfo(f.info, f.save)
	h.Refuses, h.Unproven = f.refuses, s.server.probe.Load() == byDelete
	return h, err
}

func (s *Store) facts(ctx context.Context) (facts, error) {
	var canary, info *redis.StringCmd
	var saves *redis.MapStringStringCmd
	var write *redis.Cmd
	err := s.server.ask(ctx, func(batch redis.Pipeliner) {
		canary = batch.Get(ctx, canaryKey)
		// It is not there, so that nothing is written.
		write = batch.Do(ctx, "SET", neverWritten, "", "XX", "PX", 1)
		info = batch.Info(ctx)
		saves = batch.ConfigGet(ctx, "save")
	})
	if err != nil {
		return facts{}, err
	}
	if err := canary.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return facts{}, err
	}
	f := facts{info: info.Val(), save: saves.Val()["save"], canary: canary.Val()}
	if err := write.Err(); err != nil && !errors.Is(err, redis.Nil) {
		f.refuses = Reason(err)
	}
	return f, nil
}

func readInfo(info, save string) (Health, error) {
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
			return Health{}, fmt.Errorf("store: ready: %w: %w: it is %s, but %d or newer is needed", ErrUnavailable, errTooOld, h.Server, oldest)
		}
	}
	if v := facts["valkey_version"]; v != "" {
		h.Server = "valkey " + v
	}
	if policy := facts["maxmemory_policy"]; policy != "noeviction" {
		h.Evicts = policy
	}
	h.Persistent = facts["aof_enabled"] == "1" || save != ""
	h.UsedMemory, _ = strconv.ParseInt(facts["used_memory"], 10, 64)
	h.MaxMemory, _ = strconv.ParseInt(facts["maxmemory"], 10, 64)
	return h, nil
}
