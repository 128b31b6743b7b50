package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Health describes a store that answers.
type Health struct {
	Server     string // name and version, such as "redis 7.0.15"; "redis" if INFO is not allowed
	Persistent bool   // it is known to write to disk, so that a restart loses little or nothing
	Evicts     string // the maxmemory-policy by which it may evict records; "" if none, or not known
	Embedded   bool   // it is in this process, and ends with it

	// Refuses says why it takes no writes at present; "" if it does. Decisions
	// and revocations go on meanwhile, but nobody registers, consents or gets a
	// token.
	Refuses string
	// Unproven: the ACL forbids WAIT, so that a master cannot be distinguished
	// from a replica that takes writes or cannot write to its disk.
	Unproven bool
	// UsedMemory and MaxMemory are in bytes; 0: not known, or no limit. Of a
	// cluster those of one node.
	UsedMemory, MaxMemory int64
}

// oldest is the first major version that has all commands that athd uses.
const oldest = 7

var errTooOld = errors.New("the server is too old")

// facts are the server's answers to [Store.Ready].
type facts struct {
	info, save, refuses string
	seals               seals
}

// Ready asks the server in one batch whether it is there and how it is
// configured, and checks that our keyset opens what it holds. What the ACL
// forbids (INFO, CONFIG GET) stays unknown. ErrUnavailable: it does not answer, is no
// master, or is too old; [ErrOtherKeyset]: it was written with another keyset.
// [Reason] says which.
func (s *Store) Ready(ctx context.Context) (Health, error) {
	var f facts
	err := s.do(ctx, opReady, func(ctx context.Context) (err error) {
		if f, err = s.facts(ctx); err != nil {
			return err
		}
		err = s.noteForeign(s.checkKeyset(ctx, f.seals))
		switch {
		case err != nil && f.refuses != "" && !isAnswer(err) && isReply(err):
			return nil // it takes no writes, and so no canary
		case err != nil:
			return err
		}
		return s.server.misdirected()
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
	var info *redis.StringCmd
	var seals *redis.SliceCmd
	var saves *redis.MapStringStringCmd
	var write *redis.Cmd
	err := s.server.ask(ctx, func(batch redis.Pipeliner) {
		seals = batch.MGet(ctx, canaryKey, retiredKey)
		// The key is not there, so that nothing is written.
		write = batch.Do(ctx, "SET", absentKey, "", "XX", "PX", 1)
		info = batch.Info(ctx)
		saves = batch.ConfigGet(ctx, "save")
	})
	if err != nil {
		return facts{}, err
	}
	if err := seals.Err(); err != nil {
		return facts{}, err
	}
	f := facts{info: info.Val(), save: saves.Val()["save"], seals: readSeals(seals.Val())}
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
		// Valkey reports Redis 7.2 here, for clients that check.
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

// A Concern is what a server that answers may still do wrong, and what an
// operator does about it.
type Concern struct {
	ID   string // evicts, refuses or unproven
	Text string
	Cure string // a command, for the server
}

// Concerns lists them.
func (h Health) Concerns() []Concern {
	var out []Concern
	if h.Evicts != "" {
		out = append(out, Concern{"evicts", "the store may evict records (maxmemory-policy " + h.Evicts + "): set noeviction, or users lose their grants",
			"redis-cli CONFIG SET maxmemory-policy noeviction"})
	}
	if h.Refuses != "" {
		out = append(out, Concern{"refuses", "the store takes no writes: nobody can register, consent or get a token; calls go on (" + h.Refuses + ")",
			"redis-cli INFO memory; redis-cli INFO persistence"})
	}
	if h.Unproven {
		out = append(out, Concern{"unproven", "the store's user may not use WAIT: a replica that takes writes could pass for a master (allow WAIT and ROLE)",
			"redis-cli ACL SETUSER athd +wait +role"})
	}
	return out
}
