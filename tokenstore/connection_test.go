package tokenstore_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// of returns the flow of an agent, a user and a provider, with records of its own.
func of(t *testing.T, agent tokenstore.Agent, user, provider string) flow {
	f := newFlow(t)
	f.agent = agent
	f.connection.Agent, f.connection.User, f.connection.Provider = agent.ID, user, provider
	f.grant.Agent, f.grant.ClientID, f.grant.User, f.grant.Provider = agent.ID, agent.ClientID, user, provider
	return f
}

// connect stores connection and grant.
func (f flow) connect(t *testing.T, s *tokenstore.Store) {
	t.Helper()
	noErr(t, s.PutConnection(t.Context(), f.token.Tag(), f.connection, f.session.Expires))
	noErr(t, s.PutGrant(t.Context(), f.token, f.grant))
}

// connections walks over all pages of this size.
func connections(t *testing.T, s *tokenstore.Store, q tokenstore.ConnectionQuery) (all []tokenstore.ConnectionInfo, corrupt []ath.Tag, pages int) {
	t.Helper()
	seen := map[string]bool{}
	for {
		page, err := s.Connections(t.Context(), q)
		noErr(t, err)
		if n := len(page.Connections) + len(page.Corrupt); n > q.Limit {
			t.Fatalf("a page has %d entries, want at most %d", n, q.Limit)
		}
		all, corrupt, pages = append(all, page.Connections...), append(corrupt, page.Corrupt...), pages+1
		if page.Next == "" {
			return all, corrupt, pages
		}
		if seen[page.Next] {
			t.Fatalf("the pages do not come to an end: %q", page.Next)
		}
		seen[page.Next] = true
		q.After = page.Next
	}
}

func tagsOf(all []tokenstore.ConnectionInfo) []ath.Tag {
	var tags []ath.Tag
	for _, c := range all {
		tags = append(tags, c.Tag)
	}
	slices.Sort(tags)
	return tags
}

func testConnectionListing(t *testing.T, b backend) {
	s := b.open(t)
	t.Run("of nobody is empty", func(t *testing.T) {
		for _, q := range []tokenstore.ConnectionQuery{{}, {Agent: "https://nobody.example/"}, {User: "nobody"}} {
			q.Limit = 10
			if all, corrupt, pages := connections(t, s, q); len(all)+len(corrupt) != 0 || pages != 1 {
				t.Errorf("%+v: %v, %v on %d pages", q, all, corrupt, pages)
			}
		}
	})
	agents := []tokenstore.Agent{newFlow(t).agent, newFlow(t).agent, newFlow(t).agent}
	want := map[string][]ath.Tag{}
	for i := range 120 {
		a, user, provider := agents[i%3], fmt.Sprint("user-", i%4), []string{"github", "shop"}[i%2]
		if i%10 == 0 {
			a = newFlow(t).agent // many agents with one each
		}
		f := of(t, a, user, provider)
		f.connect(t, s)
		for _, of := range []string{"", a.ID, user, user + provider, a.ID + user, provider} {
			want[of] = append(want[of], f.token.Tag())
		}
	}
	for _, tags := range want {
		slices.Sort(tags)
	}
	for _, limit := range []int{1000, 120, 7, 1} {
		for name, q := range map[string]tokenstore.ConnectionQuery{
			"":                      {},
			agents[0].ID:            {Agent: agents[0].ID},
			"user-1":                {User: "user-1"},
			"user-1" + "shop":       {User: "user-1", Providers: []string{"store", "shop"}},
			agents[2].ID + "user-2": {Agent: agents[2].ID, User: "user-2"},
			"github":                {Providers: []string{"github"}},
		} {
			q.Limit = limit
			all, corrupt, _ := connections(t, s, q)
			if got := tagsOf(all); !slices.Equal(got, want[name]) || len(corrupt) != 0 {
				t.Errorf("%+v: %d connections and %d corrupt, want %d", q, len(got), len(corrupt), len(want[name]))
			}
		}
	}
	t.Run("a cursor is good for its own question", func(t *testing.T) {
		page, err := s.Connections(t.Context(), tokenstore.ConnectionQuery{Agent: agents[0].ID, Limit: 1})
		noErr(t, err)
		for _, q := range []tokenstore.ConnectionQuery{
			{Limit: 1, After: page.Next}, {Limit: 1, Agent: agents[1].ID, After: page.Next}, {Limit: 1, User: "user-1", After: page.Next},
			{Limit: 1, After: "!"}, {Limit: 1, After: "YS54LjEueQ"}, {Limit: 1, After: strings.Repeat("a", 300)},
		} {
			_, err := s.Connections(t.Context(), q)
			wantErr(t, err, tokenstore.ErrCursor)
		}
		if _, err := s.Connections(t.Context(), tokenstore.ConnectionQuery{}); err == nil {
			t.Error("no limit was accepted")
		}
	})
	t.Run("says all but tokens", func(t *testing.T) {
		f := of(t, newFlow(t).agent, "alice", "github")
		f.connection.Destination = "there"
		f.connect(t, s)
		second := f.grant
		second.Expires = f.grant.Expires.Add(time.Minute)
		noErr(t, s.PutGrant(t.Context(), ath.NewToken(f.token.Tag()), second))
		got, err := s.Connection(t.Context(), f.token.Tag())
		noErr(t, err)
		equal(t, got, tokenstore.ConnectionInfo{
			Tag: f.token.Tag(), Agent: f.agent.ID, User: "alice", Provider: "github", Scopes: ath.Scopes{"repo"}, Created: f.connection.Created,
			Expires: f.connection.Expires, Refreshable: true, Destination: "there", Tokens: 2, Until: second.Expires,
		})
		text := fmt.Sprintf("%+v", got)
		for name, secret := range f.secrets {
			if strings.Contains(text, secret) {
				t.Errorf("it holds the %s", name)
			}
		}
		_, err = s.Connection(t.Context(), ath.NewTag())
		wantErr(t, err, tokenstore.ErrNotFound)
	})
}

// testConnectionIndex looks at what is stored, and at what an athd leaves that
// keeps no owners and no index of users.
func testConnectionIndex(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	f := of(t, newFlow(t).agent, "alice@example.com", "github")
	f.connect(t, s)
	tag := string(f.token.Tag())
	index, owner := endsWith(t, b.dump(t), ":user-conns"), "ath:{"+tag+"}:owner"

	t.Run("names nobody", func(t *testing.T) {
		for key, value := range b.dump(t) {
			if strings.Contains(key+string(value), "alice") {
				t.Errorf("%s tells the user", key)
			}
		}
		other := b
		other.keys = newKeyset(t)
		noErr(t, b.raw.Del(ctx, "ath:{canary}:keyset").Err())
		elsewhere := other.open(t)
		noErr(t, elsewhere.EndUser(ctx, "alice@example.com", nil, time.Now()))
		for key := range b.dump(t) {
			if strings.HasSuffix(key, ":user-ended") && strings.Contains(key, index[:len("ath:{")+16]) {
				t.Error("another keyset gives the user the same tag")
			}
		}
	})
	t.Run("lives as long as the last token", func(t *testing.T) {
		long := f.grant
		long.Expires = f.grant.Expires.Add(30 * time.Minute)
		noErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), long))
		if score := b.raw.ZScore(ctx, index, tag).Val(); int64(score) != long.Expires.UnixMilli() {
			t.Errorf("until %.0f, want %d", score, long.Expires.UnixMilli())
		}
		for key, want := range map[string]time.Duration{owner: 90 * time.Minute, index: 95 * time.Minute} {
			if left := b.raw.PTTL(ctx, key).Val(); left > want+time.Second || left < want-time.Minute {
				t.Errorf("%s goes after %v, want %v", key, left, want)
			}
		}
	})
	t.Run("is trimmed as it is read", func(t *testing.T) {
		over := redis.Z{Score: float64(time.Now().Add(-time.Hour).UnixMilli()), Member: string(ath.NewTag())}
		noErr(t, b.raw.ZAdd(ctx, index, over).Err())
		connections(t, s, tokenstore.ConnectionQuery{User: "alice@example.com", Limit: 10})
		if members := b.raw.ZRange(ctx, index, 0, -1).Val(); !slices.Equal(members, []string{tag}) {
			t.Errorf("%q, want %q", members, tag)
		}
	})
	t.Run("more entries than a step of one millisecond are all read", func(t *testing.T) {
		at := float64(time.Now().Add(20 * time.Minute).UnixMilli())
		for range 13 {
			var some []redis.Z
			for range 100 {
				some = append(some, redis.Z{Score: at, Member: string(ath.NewTag())})
			}
			noErr(t, b.raw.ZAdd(ctx, index, some...).Err())
		}
		all, _, _ := connections(t, s, tokenstore.ConnectionQuery{User: "alice@example.com", Limit: 1})
		if !slices.Equal(tagsOf(all), []ath.Tag{f.token.Tag()}) {
			t.Errorf("%d connections, want 1", len(all))
		}
	})
	older := of(t, f.agent, "bob", "github")
	older.connect(t, s)
	other := string(older.token.Tag())
	forget := func() {
		noErr(t, b.raw.Del(ctx, "ath:{"+other+"}:owner").Err())
		for key := range b.dump(t) {
			if strings.HasSuffix(key, ":user-conns") {
				noErr(t, b.raw.ZRem(ctx, key, other).Err())
			}
		}
	}
	forget()
	t.Run("what has no owner is found by its agent and its grants", func(t *testing.T) {
		for _, q := range []tokenstore.ConnectionQuery{{Agent: f.agent.ID, User: "bob"}, {User: "bob"}, {User: "bob", Providers: []string{"github"}}} {
			q.Limit = 10
			all, _, _ := connections(t, s, q)
			if len(all) != 1 || all[0].Tag != older.token.Tag() || all[0].User != "bob" || all[0].Tokens != 1 {
				t.Errorf("%+v: %+v", q, all)
			}
		}
		all, _, _ := connections(t, s, tokenstore.ConnectionQuery{User: "alice@example.com", Limit: 10})
		if len(all) != 1 {
			t.Errorf("alice has %d connections, want 1", len(all))
		}
	})
	t.Run("and enters the index when it is used", func(t *testing.T) {
		at := time.Now()
		s.Used(&older.grant, at)
		until(t, "it has an owner", func() bool { return b.raw.Exists(ctx, "ath:{"+other+"}:owner").Val() == 1 })
		info, err := s.Connection(ctx, older.token.Tag())
		noErr(t, err)
		if info.Used.Before(at.Add(-time.Second)) || info.Used.After(time.Now()) {
			t.Errorf("used %v", info.Used)
		}
		until(t, "the index has it", func() bool {
			for key := range b.dump(t) {
				if strings.HasSuffix(key, ":user-conns") && slices.Contains(b.raw.ZRange(ctx, key, 0, -1).Val(), other) {
					return true
				}
			}
			return false
		})
		if left := b.raw.PTTL(ctx, "ath:{"+other+"}:owner").Val(); left <= 0 || left > time.Hour+time.Second {
			t.Errorf("the owner goes after %v", left)
		}
	})
	t.Run("not more often than in five minutes", func(t *testing.T) {
		forget()
		at := time.Now()
		s.Used(&older.grant, at.Add(4*time.Minute))
		s.Used(&f.grant, at) // is noted after it
		until(t, "the other is noted", func() bool {
			info, err := s.Connection(ctx, f.token.Tag())
			return err == nil && !info.Used.IsZero()
		})
		if b.raw.Exists(ctx, "ath:{"+other+"}:owner").Val() != 0 {
			t.Error("it was noted again")
		}
		s.Used(&older.grant, at.Add(6*time.Minute))
		until(t, "it is noted again", func() bool { return b.raw.Exists(ctx, "ath:{"+other+"}:owner").Val() == 1 })
	})
	t.Run("a record below another's owner does not open", func(t *testing.T) {
		swapped := b.raw.Get(ctx, "ath:{"+other+"}:owner").Val()
		noErr(t, b.raw.Set(ctx, owner, swapped, time.Hour).Err())
		info, err := s.Connection(ctx, f.token.Tag())
		noErr(t, err) // its grants tell
		if info.User != "alice@example.com" {
			t.Errorf("the connection is said to be %s's", info.User)
		}
		noErr(t, b.raw.Set(ctx, "ath:{"+tag+"}:conn", "\x01nobody's", time.Hour).Err())
		_, err = s.Connection(ctx, f.token.Tag())
		wantErr(t, err, tokenstore.ErrCorrupt)
		_, corrupt, _ := connections(t, s, tokenstore.ConnectionQuery{Agent: f.agent.ID, Limit: 10})
		if !slices.Equal(corrupt, []ath.Tag{f.token.Tag()}) {
			t.Errorf("corrupt are %v", corrupt)
		}
		end, err := s.EndConnection(ctx, f.token.Tag(), time.Now())
		noErr(t, err)
		if !end.Was || b.raw.Exists(ctx, "ath:{"+tag+"}:conn", owner).Val() != 0 {
			t.Error("it is there after its end")
		}
	})
}

// proves: V-4
func testEndConnection(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	other := s
	if b.url != tokenstore.Embedded {
		other = b.open(t)
	}
	f, stranger := newFlow(t), newFlow(t)
	f.store(t, s)
	stranger.store(t, s)
	second := ath.NewToken(f.token.Tag())
	noErr(t, s.PutGrant(ctx, second, f.grant))
	w := other.Watch()
	defer w.Close()

	at := f.grant.Issued.Add(time.Minute)
	end, err := s.EndConnection(ctx, f.token.Tag(), at)
	noErr(t, err)
	if !end.Was {
		t.Error("there was nothing to end")
	}
	for _, token := range []ath.Token{f.token, second} {
		reading, err := other.Read(ctx, token, f.agent.ID)
		noErr(t, err)
		if reading.Grant == nil || !reading.Grant.Revoked.Equal(at) || reading.Connection != nil {
			t.Errorf("the other replica reads %+v", reading)
		}
	}
	for {
		c, err := w.Next(ctx)
		noErr(t, err)
		if c.Kind == tokenstore.ConnectionEnded && c.Tag == f.token.Tag() {
			break
		}
	}
	wantErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), f.grant), tokenstore.ErrNotFound)
	for range 2 {
		if end, err = other.EndConnection(ctx, f.token.Tag(), at); err != nil || end.Was {
			t.Errorf("ended again: %v, %v", end, err)
		}
	}
	if end, err = s.EndConnection(ctx, ath.NewTag(), at); err != nil || end.Was {
		t.Errorf("what never was: %v, %v", end, err)
	}
	_, err = s.Connection(ctx, f.token.Tag())
	wantErr(t, err, tokenstore.ErrNotFound)
	reading, err := s.Read(ctx, stranger.token, stranger.agent.ID)
	noErr(t, err)
	if reading.Connection == nil || !reading.Grant.Revoked.IsZero() {
		t.Errorf("the stranger's token reads %+v", reading)
	}
}

func testUserEnd(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	end := func(t *testing.T, user, provider string) tokenstore.UserEnd {
		t.Helper()
		e, err := s.UserEnd(ctx, user, provider)
		noErr(t, err)
		return e
	}
	if e := end(t, "alice", "github"); e != (tokenstore.UserEnd{}) {
		t.Errorf("nobody ended alice: %+v", e)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	noErr(t, s.EndUser(ctx, "alice", []string{"github", "hub"}, at))
	first := end(t, "alice", "github")
	if !first.At.Equal(at) || first != end(t, "alice", "github") || !end(t, "alice", "hub").At.Equal(at) {
		t.Errorf("%+v, want %v", first, at)
	}
	for _, other := range [][2]string{{"alice", "shop"}, {"bob", "github"}, {"alicegithub", ""}} {
		if e := end(t, other[0], other[1]); e != (tokenstore.UserEnd{}) {
			t.Errorf("%v is ended: %+v", other, e)
		}
	}
	noErr(t, s.EndUser(ctx, "alice", nil, at))
	if e := end(t, "alice", "github"); e == first || !e.At.Equal(at) {
		t.Error("an end at the same time is another end")
	}
	if e := end(t, "alice", "shop"); !e.At.Equal(at) {
		t.Errorf("%+v at the other provider", e)
	}
	if err := s.EndUser(ctx, "", nil, at); err == nil {
		t.Error("nobody was ended")
	}
}

// A decision tells of each use: that costs it nothing, also where nobody takes it.
func TestAUseIsNotedApartFromTheDecision(t *testing.T) {
	s := backend{url: tokenstore.Embedded}.open(t)
	f := newFlow(t)
	f.store(t, s)
	now := time.Now()
	s.Used(&f.grant, now)
	if n := testing.AllocsPerRun(1000, func() { s.Used(&f.grant, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// Who would wait until there is room would see none dropped, however many there are.
	for told := 0; s.UsesDropped() == 0; told++ {
		if told == 1_000_000 {
			t.Fatalf("of %d uses none was dropped", told)
		}
		g := f.grant
		g.Connection = ath.NewTag()
		s.Used(&g, now)
	}
	until(t, "the first one is noted", func() bool {
		info, err := s.Connection(t.Context(), f.token.Tag())
		return err == nil && !info.Used.IsZero()
	})
}
