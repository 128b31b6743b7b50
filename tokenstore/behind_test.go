package tokenstore_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// What the server holds, seen from behind.

// dump returns all keys with their bytes, from all nodes.
func (b backend) dump(t *testing.T) map[string][]byte {
	t.Helper()
	switch raw := b.raw.(type) {
	case *redis.Client:
		return realredis.Dump(t, raw)
	case *redis.ClusterClient:
		var mu sync.Mutex
		all := map[string][]byte{}
		err := raw.ForEachMaster(t.Context(), func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(all, realredis.Dump(t, node))
			return nil
		})
		noErr(t, err)
		return all
	}
	t.Fatal("this server cannot be dumped")
	return nil
}

// endsWith returns the only key with this ending.
func endsWith(t *testing.T, keys map[string][]byte, ending string) string {
	t.Helper()
	var found []string
	for key := range keys {
		if strings.HasSuffix(key, ending) {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d keys end with %q: %q", len(found), ending, found)
	}
	return found[0]
}

func testTTL(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	const day = 24 * time.Hour
	// life checks that key goes after about want from now.
	life := func(t *testing.T, key string, want time.Duration) {
		t.Helper()
		got, err := b.raw.PTTL(ctx, key).Result()
		noErr(t, err)
		if want == noEnd && got != -1 || want != noEnd && (got > want+time.Second || got < want-time.Minute) {
			t.Errorf("%s goes after %v, want %v", key, got, want)
		}
	}

	notified(t, s)
	f := newFlow(t)
	noErr(t, s.PutConnection(ctx, f.token.Tag(), f.connection, f.session.Expires))
	conn := endsWith(t, b.dump(t), ":conn")
	life(t, conn, 10*time.Minute) // until there is a grant, as given

	noErr(t, s.CreateAgent(ctx, f.agent))
	noErr(t, s.CreateSession(ctx, f.sessionID.Tag(), f.session))
	noErr(t, s.PutGrant(ctx, f.token, f.grant))
	_, err := s.Once(ctx, f.sessionID.Tag(), "jti", "x", 5*time.Minute)
	noErr(t, err)
	short := f.grant
	short.Expires = f.grant.Issued.Add(time.Minute)
	noErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), short)) // takes nothing from what is there

	keys := b.dump(t)
	if len(keys) != 11 {
		t.Errorf("the flow left %d keys, want 11: %q", len(keys), slices.Sorted(maps.Keys(keys)))
	}
	grant := endsWith(t, keys, ":grant:"+f.token.Digest().String())
	life(t, conn, time.Hour)
	life(t, grant, time.Hour+day)
	life(t, endsWith(t, keys, ":grants"), time.Hour+day)
	life(t, endsWith(t, keys, ":conns"), time.Hour+5*time.Minute)
	life(t, endsWith(t, keys, ":user-conns"), time.Hour+5*time.Minute)
	life(t, endsWith(t, keys, ":owner"), time.Hour)
	life(t, endsWith(t, keys, ":session"), 20*time.Minute)
	life(t, endsWith(t, keys, ":agent"), 120*day)
	life(t, endsWith(t, keys, "{changes}:log"), 30*day)
	for key := range keys {
		if left, err := b.raw.PTTL(ctx, key).Result(); err != nil || left <= 0 {
			t.Errorf("%s has no TTL: %v, %v", key, left, err)
		}
	}

	t.Run("a swap sets the TTL again", func(t *testing.T) {
		held, err := s.Session(ctx, f.sessionID.Tag())
		noErr(t, err)
		next := held.Value
		next.Expires = time.Now().Add(time.Minute)
		_, err = s.SwapSession(ctx, held, next)
		noErr(t, err)
		life(t, endsWith(t, b.dump(t), ":session"), 11*time.Minute)
	})
	t.Run("P-1: a tombstone stays for a day after the grant's end", func(t *testing.T) {
		held, err := s.Grant(ctx, f.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, time.Now()))
		life(t, grant, time.Hour+day)
	})
	t.Run("P-1: what has ended is remembered for as long as was said", func(t *testing.T) {
		s, f := b.open(t, func(c *tokenstore.Config) { c.RememberEnded = 3 * day }), newFlow(t)
		f.store(t, s)
		grant := "ath:{" + string(f.token.Tag()) + "}:grant:" + f.token.Digest().String()
		life(t, grant, time.Hour+3*day)
		held, err := s.Grant(ctx, f.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, time.Now()))
		life(t, grant, time.Hour+3*day)
	})
	t.Run("by an agent's standing", func(t *testing.T) {
		for _, c := range []struct {
			name   string
			change func(*tokenstore.Agent)
			want   time.Duration
		}{
			{"R-6: suspended: no end", func(a *tokenstore.Agent) { a.Suspended = true }, noEnd},
			{"pending", func(a *tokenstore.Agent) { a.Approvals = a.Approvals[1:] }, 7 * day},
			{"denied", func(a *tokenstore.Agent) { a.Approvals = nil }, 7 * day},
			{"R-6: denied by an operator", func(a *tokenstore.Agent) { a.Approvals[0].Approved = nil }, 120 * day},
			{"R-6: approved for a day, and denied something by an operator", func(a *tokenstore.Agent) { a.ApprovalExpires = time.Now().Add(day) }, 120 * day},
			{"approval long over", func(a *tokenstore.Agent) {
				a.ApprovalExpires = time.Now().Add(-20 * day)
				a.Approvals[0].OperatorDenied = nil
			}, 10 * day},
		} {
			t.Run(c.name, func(t *testing.T) {
				f := newFlow(t)
				noErr(t, s.CreateAgent(ctx, f.agent))
				key := "ath:{" + string(ath.AgentTag(f.agent.ID)) + "}:agent"
				held, err := s.Agent(ctx, ath.AgentTag(f.agent.ID))
				noErr(t, err)
				next := held.Value
				c.change(&next)
				noErr(t, s.SwapAgent(ctx, held, next))
				life(t, key, c.want)

				created := newFlow(t).agent
				c.change(&created)
				noErr(t, s.CreateAgent(ctx, created))
				life(t, "ath:{"+string(ath.AgentTag(created.ID))+"}:agent", c.want)
			})
		}
	})
	t.Run("what is over goes at once, and is never kept for ever", func(t *testing.T) {
		f := newFlow(t)
		noErr(t, s.PutConnection(ctx, f.token.Tag(), f.connection, time.Unix(0, 0)))
		f.agent.ApprovalExpires, f.agent.Approvals[0].OperatorDenied = time.Time{}, nil // approved, but for no time at all
		noErr(t, s.CreateAgent(ctx, f.agent))
		for _, key := range []string{"ath:{" + string(f.token.Tag()) + "}:conn", "ath:{" + string(ath.AgentTag(f.agent.ID)) + "}:agent"} {
			if left, err := b.raw.PTTL(ctx, key).Result(); err != nil || left == -1 || left > time.Millisecond {
				t.Errorf("%s goes after %v, %v", key, left, err)
			}
		}
	})
	t.Run("the far future does not overflow", func(t *testing.T) {
		f := newFlow(t)
		noErr(t, s.PutConnection(ctx, f.token.Tag(), f.connection, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)))
		life(t, "ath:{"+string(f.token.Tag())+"}:conn", 100*365*day)
	})
}

// noEnd stands for a key without a TTL.
const noEnd = time.Duration(-1)

func testLastGrant(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	f.store(t, s)
	second := ath.NewToken(f.token.Tag())
	noErr(t, s.PutGrant(ctx, second, f.grant))
	conn := "ath:{" + string(f.token.Tag()) + "}:conn"
	exists := func() bool { return b.raw.Exists(ctx, conn).Val() == 1 }

	revoke := func(s *tokenstore.Store, token ath.Token) {
		t.Helper()
		held, err := s.Grant(ctx, token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, time.Now()))
	}
	revoke(s, f.token)
	if !exists() {
		t.Fatal("the connection went with the first of two grants")
	}
	revoke(s, second)
	if exists() {
		t.Fatal("the connection outlived its last grant")
	}

	t.Run("an expired grant holds nothing, but clocks may differ", func(t *testing.T) {
		f := newFlow(t)
		f.store(t, s)
		over := ath.NewToken(f.token.Tag())
		g := f.grant
		g.Expires = time.Now().Add(-time.Minute)
		noErr(t, s.PutGrant(ctx, over, g))
		conn = "ath:{" + string(f.token.Tag()) + "}:conn"
		revoke(s, f.token)
		if !exists() {
			t.Fatal("a replica whose clock is a minute fast ended another's connection")
		}
		late := b.open(t, func(c *tokenstore.Config) {
			c.Now = func() time.Time { return time.Now().Add(10 * time.Minute) }
		})
		third := ath.NewToken(f.token.Tag())
		noErr(t, late.PutGrant(ctx, third, f.grant))
		revoke(late, third)
		if exists() {
			t.Fatal("an expired grant held the connection")
		}
	})
}

func testNoPlaintext(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	f.store(t, s)
	_, err := s.Once(ctx, f.sessionID.Tag(), "state", f.secrets["state"], time.Minute)
	noErr(t, err)
	held, err := s.Grant(ctx, f.token)
	noErr(t, err)
	noErr(t, s.Revoke(ctx, held, time.Now()))
	second := newFlow(t)
	second.store(t, s)

	for _, f := range []flow{f, second} {
		for name, secret := range f.secrets {
			for key, bytes := range b.dump(t) {
				if found := traces(secret, []byte(key), bytes); found != "" {
					t.Errorf("%s holds the %s in %s", key, name, found)
				}
			}
		}
	}
	t.Run("the scanner finds what is planted", func(t *testing.T) {
		secret := f.secrets["access token"]
		for name, planted := range map[string]string{
			"plain":    secret,
			"hex":      hex.EncodeToString([]byte("x" + secret)),
			"HEX":      strings.ToUpper(hex.EncodeToString([]byte(secret))),
			"base64":   base64.StdEncoding.EncodeToString([]byte(secret)),
			"base64+1": base64.RawURLEncoding.EncodeToString([]byte("x" + secret + "?")),
			"base64+2": base64.StdEncoding.EncodeToString([]byte("xy" + secret + "?")),
		} {
			noErr(t, b.raw.Set(ctx, "planted", "before "+planted+" behind", time.Minute).Err())
			if traces(secret, b.dump(t)["planted"]) == "" {
				t.Errorf("not found in %s", name)
			}
		}
	})
}

// traces says in which form one of the haystacks holds the secret, or "".
func traces(secret string, haystacks ...[]byte) string {
	type form struct{ name, text string }
	forms := []form{
		{"plain", secret},
		{"hex", hex.EncodeToString([]byte(secret))},
		{"HEX", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
	}
	for _, before := range []string{"", "x", "xy"} { // the three ways in which three bytes can lie
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			whole := encoding.EncodeToString([]byte(before + secret + "xyz"))
			forms = append(forms, form{name, whole[4 : len(whole)-8]}) // only the middle is the secret's own
		}
	}
	for _, form := range forms {
		for _, haystack := range haystacks {
			if bytes.Contains(haystack, []byte(form.text)) {
				return form.name
			}
		}
	}
	return ""
}

// testSlots asks Redis itself in which slot each key of a flow is.
func testSlots(t *testing.T, b backend) {
	b.keys = newKeyset(t)
	s, ctx := b.open(t), t.Context()
	f := newFlow(t)
	f.store(t, s)
	second := ath.NewToken(f.token.Tag())
	noErr(t, s.PutGrant(ctx, second, f.grant))
	_, err := s.Once(ctx, ath.AgentTag(f.agent.ID), "jti", "x", time.Minute)
	noErr(t, err)

	bySlot := map[int64][]string{}
	for key := range b.dump(t) {
		if !strings.Contains(key, string(f.token.Tag())) && !strings.Contains(key, string(ath.AgentTag(f.agent.ID))) {
			continue
		}
		slot, err := b.raw.ClusterKeySlot(ctx, key).Result()
		noErr(t, err)
		bySlot[slot] = append(bySlot[slot], strings.Split(key, "}")[1])
	}
	var sizes []int
	for _, keys := range bySlot {
		sizes = append(sizes, len(keys))
	}
	slices.Sort(sizes)
	// conn, owner, grants and two of grant; agent, conns and jti.
	if !slices.Equal(sizes, []int{3, 5}) {
		t.Fatalf("the slots hold %v", bySlot)
	}
}
