package tokenstore_test

import (
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// testSealing plays somebody who can write to Redis.
func testSealing(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	f := newFlow(t)
	f.store(t, s)
	other := newFlow(t) // another agent and user
	other.grant.User, other.connection.User = "u2", "u2"
	other.store(t, s)

	at := func(tag ath.Tag, rest string) string { return "ath:{" + string(tag) + "}:" + rest }
	agentTag := ath.AgentTag(f.agent.ID)
	agent, session := at(agentTag, "agent"), at(f.sessionID.Tag(), "session")
	grant, conn := at(f.token.Tag(), "grant:"+f.token.Digest().String()), at(f.token.Tag(), "conn")
	stored := func(key string) string {
		t.Helper()
		raw, err := b.raw.Get(ctx, key).Result()
		noErr(t, err)
		return raw
	}
	// readers of each record, which must all refuse what does not open
	readers := map[string][]func(*tokenstore.Store) error{
		agent: {
			func(s *tokenstore.Store) error { _, err := s.Agent(ctx, agentTag); return err },
			func(s *tokenstore.Store) error { _, err := s.Read(ctx, f.token, f.agent.ID); return err },
		},
		session: {
			func(s *tokenstore.Store) error { _, err := s.Session(ctx, f.sessionID.Tag()); return err },
		},
		grant: {
			func(s *tokenstore.Store) error { _, err := s.Grant(ctx, f.token); return err },
			func(s *tokenstore.Store) error { _, err := s.Read(ctx, f.token, f.agent.ID); return err },
		},
		conn: {
			func(s *tokenstore.Store) error { _, err := s.Read(ctx, f.token, f.agent.ID); return err },
		},
	}
	refused := func(t *testing.T, key string, s *tokenstore.Store) {
		t.Helper()
		for i, read := range readers[key] {
			if err := read(s); err == nil {
				t.Errorf("reader %d took it", i)
			} else {
				wantErr(t, err, tokenstore.ErrCorrupt)
			}
		}
	}

	for key := range readers {
		kind, _, _ := strings.Cut(strings.SplitN(key, "}:", 2)[1], ":")
		good := stored(key)
		for _, read := range readers[key] {
			noErr(t, read(s)) // it is known to the store now, which must not help what comes
		}
		for name, bad := range map[string]string{
			"an empty record":        "",
			"one byte":               good[:1],
			"a flipped first byte":   "\x02" + good[1:],
			"a flipped last byte":    good[:len(good)-1] + string(good[len(good)-1]^1),
			"a flipped middle byte":  good[:40] + string(good[40]^1) + good[41:],
			"a cut record":           good[:len(good)-1],
			"a longer record":        good + "\x00",
			"a record in the clear":  "\x01" + `{"agent":"x"}`,
			"a very long record":     good + strings.Repeat("x", 1<<20),
			"another agent's record": stored(map[string]string{agent: at(ath.AgentTag(other.agent.ID), "agent"), session: at(other.sessionID.Tag(), "session"), grant: at(other.token.Tag(), "grant:"+other.token.Digest().String()), conn: at(other.token.Tag(), "conn")}[key]),
		} {
			t.Run(kind+": "+name+" does not open", func(t *testing.T) {
				noErr(t, b.raw.Set(ctx, key, bad, 0).Err())
				refused(t, key, s)
			})
		}
		for foreign := range readers {
			if foreign == key {
				continue
			}
			t.Run(kind+": another kind of record does not open", func(t *testing.T) {
				noErr(t, b.raw.Set(ctx, key, good, 0).Err())
				noErr(t, b.raw.Set(ctx, key, stored(foreign), 0).Err())
				refused(t, key, s)
			})
		}
		noErr(t, b.raw.Set(ctx, key, good, 0).Err())
		t.Run(kind+": another keyset does not open it", func(t *testing.T) {
			refused(t, key, b.open(t, func(c *tokenstore.Config) { c.Keyset = newKeyset(t) }))
		})
		t.Run(kind+": the same keyset from its file does", func(t *testing.T) {
			data, err := b.keys.Marshal()
			noErr(t, err)
			again, err := tokenstore.ParseKeyset(data)
			noErr(t, err)
			s := b.open(t, func(c *tokenstore.Config) { c.Keyset = again })
			for _, read := range readers[key] {
				noErr(t, read(s))
			}
		})
		t.Run(kind+": the version is named when it is not ours", func(t *testing.T) {
			noErr(t, b.raw.Set(ctx, key, "\x07"+good[1:], 0).Err())
			if err := readers[key][0](s); err == nil || !strings.Contains(err.Error(), "version 7") {
				t.Errorf("the error is %v", err)
			}
			noErr(t, b.raw.Set(ctx, key, good, 0).Err())
		})
	}

	t.Run("T-3: a connection opens for its own agent, user and provider only", func(t *testing.T) {
		good := stored(conn)
		for name, change := range map[string]func(*tokenstore.Connection){
			"user":     func(c *tokenstore.Connection) { c.User = "u2" },
			"agent":    func(c *tokenstore.Connection) { c.Agent = other.agent.ID },
			"provider": func(c *tokenstore.Connection) { c.Provider = "gitlab" },
			// the same bytes in a row, cut elsewhere
			"border": func(c *tokenstore.Connection) { c.User, c.Provider = "u1g", "ithub" },
		} {
			t.Run(name, func(t *testing.T) {
				c := f.connection
				change(&c)
				noErr(t, s.PutConnection(ctx, f.token.Tag(), c, f.grant.Expires)) // sealed by us, for this very key
				refused(t, conn, s)
			})
		}
		noErr(t, b.raw.Set(ctx, conn, good, 0).Err())
		got, err := s.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
		equal(t, got.Connection, &f.connection)
	})
	t.Run("two seals of one record differ", func(t *testing.T) {
		before := stored(conn)
		noErr(t, s.PutConnection(ctx, f.token.Tag(), f.connection, f.grant.Expires))
		if stored(conn) == before {
			t.Fatal("they do not")
		}
	})
	t.Run("swap compares bytes: a record put back by another hand is another record", func(t *testing.T) {
		held, err := s.Session(ctx, f.sessionID.Tag())
		noErr(t, err)
		noErr(t, b.raw.Set(ctx, session, stored(at(other.sessionID.Tag(), "session")), 0).Err())
		_, err = s.SwapSession(ctx, held, held.Value)
		wantErr(t, err, tokenstore.ErrChanged)
	})
	t.Run("Z-4: a session that is put back from before its end ends no second time", func(t *testing.T) {
		f := newFlow(t)
		noErr(t, s.CreateSession(ctx, f.sessionID.Tag(), f.session))
		key := at(f.sessionID.Tag(), "session")
		before := stored(key)
		end := func() error {
			held, err := s.Session(ctx, f.sessionID.Tag())
			noErr(t, err)
			next := held.Value
			next.Phase = tokenstore.Consumed
			_, err = s.SwapSession(ctx, held, next)
			return err
		}
		noErr(t, end())
		noErr(t, b.raw.Set(ctx, key, before, 0).Err())
		wantErr(t, end(), tokenstore.ErrChanged)
	})
	t.Run("swap brings nothing back that is gone", func(t *testing.T) {
		noErr(t, s.CreateAgent(ctx, newFlow(t).agent))
		held, err := s.Agent(ctx, agentTag)
		noErr(t, err)
		noErr(t, b.raw.Del(ctx, agent).Err())
		wantErr(t, s.SwapAgent(ctx, held, held.Value), tokenstore.ErrChanged)
	})
}
