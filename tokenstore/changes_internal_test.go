package tokenstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

func TestAnnouncementsAreReadStrictly(t *testing.T) {
	tag, digest := ath.NewTag(), ath.DigestOf("token")
	for _, c := range []Change{
		{7, AgentChanged, tag, ath.Digest{}},
		{7, GrantEnded, tag, digest},
		{7, ConnectionEnded, tag, ath.Digest{}},
		{7, Everything, "", ath.Digest{}},
		{7, "of-a-newer-athd", tag, ath.Digest{}},
	} {
		text := ""
		if !c.Digest.IsZero() {
			text = hex.EncodeToString(c.Digest[:])
		}
		said := announce(c.Kind, c.Tag, text)
		if got, err := said.change(7); err != nil || got != c {
			t.Errorf("%s reads as %+v, %v", said, got, err)
		}
		if said == announce(c.Kind, c.Tag, text) {
			t.Errorf("%s is not unique", said)
		}
	}
	good := "grant:" + string(tag) + ":" + digest.String() + ":n"
	if _, err := announcement(good).change(1); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", ":", ":::", "agent", "agent:::n", "agent:" + string(tag) + "::", "agent:" + string(tag) + ":", good + ":", ":" + good,
		"agent:short::n", "agent:" + string(tag[:15]) + "}::n", "grant:" + string(tag) + "::n",
		"grant:" + string(tag) + ":" + digest.String()[1:] + ":n", "grant:" + string(tag) + ":" + strings.Repeat("x", 64) + ":n",
		good + strings.Repeat("x", maxAnnouncement),
	} {
		if c, err := announcement(bad).change(1); err == nil {
			t.Errorf("%q reads as %+v", bad, c)
		}
	}
}

// logged is entries of a log, from one generation on.
func logged(from uint64, said ...announcement) (found entries) {
	for i, a := range said {
		found = append(found, redis.Z{Score: float64(from) + float64(i), Member: string(a)})
	}
	return found
}

func TestWhatTheLogCannotShowToBeCompleteIsEverything(t *testing.T) {
	var said []announcement
	for range 4 {
		said = append(said, announce(AgentChanged, ath.NewTag(), ""))
	}
	at := position{5, said[0]}
	for name, c := range map[string]struct {
		at    position
		found entries
		want  int // -1: not complete
	}{
		"nothing new":                      {at, logged(5, said[0]), 0},
		"three new":                        {at, logged(5, said...), 3},
		"the first of a log":               {position{}, logged(1, said...), 4},
		"an empty log, as before":          {position{}, nil, 0},
		"an empty log, which was not":      {at, nil, -1},
		"a log that lost its end":          {at, logged(2, said[1]), -1},
		"another entry of the same number": {at, logged(5, said[1], said[2]), -1},
		"the same entry, of another":       {at, logged(6, said[0]), -1},
		"a log that was cut behind us":     {at, logged(6, said[1]), -1},
		"one is missing":                   {at, append(logged(5, said[0]), logged(7, said[1])...), -1},
		"a number twice":                   {at, append(logged(5, said[0]), logged(5, said[1])...), -1},
		"a number between":                 {at, append(logged(5, said[0]), redis.Z{Score: 5.5, Member: string(said[1])}), -1},
		"what nobody writes":               {at, logged(5, said[0], "x"), -1},
		"a log that did not begin":         {position{}, logged(2, said...), -1},
	} {
		f := &feed{at: c.at}
		next, ok := f.after(c.found)
		switch {
		case ok != (c.want >= 0):
			t.Errorf("%s: complete is %v", name, ok)
		case !ok && f.at != c.at:
			t.Errorf("%s: the position moved", name)
		case ok && len(next) != c.want:
			t.Errorf("%s: %d changes, want %d", name, len(next), c.want)
		case ok && c.want > 0 && f.at.entry != said[3]:
			t.Errorf("%s: the position is %+v", name, f.at)
		}
	}
}

func testFeed() *Store {
	s := &Store{}
	s.feed = &feed{store: s, watches: map[*Watch]struct{}{}, unwritten: unwritten{wake: make(chan struct{}, 1)}}
	return s
}

// A consumer that does not take changes costs bounded memory, and knows that it
// missed some.
func TestASlowConsumerIsToldThatEverythingMayHaveChanged(t *testing.T) {
	s := testFeed()
	w := s.Watch()
	defer w.Close()
	const more = 3 * maxQueued
	for range more {
		s.feed.at.generation++
		s.feed.hand(Change{Generation: s.feed.at.generation, Kind: AgentChanged})
		if len(w.queue) > maxQueued {
			t.Fatalf("%d changes wait", len(w.queue))
		}
	}
	var missed, got uint64
	for len(w.queue) > 0 {
		c, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Kind != Everything && c.Generation != got+1 {
			t.Errorf("after %d comes %d", got, c.Generation)
		}
		if c.Kind == Everything {
			missed++
		}
		got = c.Generation
	}
	if missed != 1 || got != more {
		t.Errorf("Everything came %d times, and the last change is %d of %d", missed, got, more)
	}
}

func TestAWatchIsAsOldAsWhatItHasNotHandled(t *testing.T) {
	s := testFeed()
	w := s.Watch()
	defer w.Close()
	ctx := t.Context()
	current := func(ago time.Duration) {
		s.feed.mu.Lock()
		defer s.feed.mu.Unlock()
		s.feed.state.Current = time.Now().Add(-ago)
	}
	between := func(what string, least, most time.Duration) {
		t.Helper()
		if age := w.Age(); age < least || age > most {
			t.Errorf("%s the age is %v", what, age)
		}
	}
	none := func() {
		t.Helper()
		done, cancel := context.WithCancel(ctx)
		cancel()
		if c, err := w.Next(done); err == nil {
			t.Fatalf("there is a change: %+v", c)
		}
	}
	between("before anything was read", math.MaxInt64, math.MaxInt64)
	current(0)
	between("before the first change was taken", math.MaxInt64, math.MaxInt64)
	w.Next(ctx)
	between("before the first change was handled", math.MaxInt64, math.MaxInt64)
	none()
	between("with everything handled", 0, 30*time.Second)
	current(time.Minute)
	between("with a feed that is a minute behind", time.Minute, 90*time.Second)
	current(time.Hour)
	s.feed.hand(Change{Kind: AgentChanged})
	current(0)
	between("with one that waits", time.Hour, time.Hour+30*time.Second)
	w.Next(ctx)
	between("with one in hand", time.Hour, time.Hour+30*time.Second)
	none()
	between("with all of it handled", 0, 30*time.Second)
}

func TestWhatCannotBeWrittenToTheLogIsBounded(t *testing.T) {
	u := unwritten{wake: make(chan struct{}, 1)}
	for range 3 * maxUnwritten {
		u.add(announce(AgentChanged, ath.NewTag(), ""))
		if u.len() > maxUnwritten {
			t.Fatalf("%d wait", u.len())
		}
	}
	found := false
	for u.len() > 0 {
		first := u.first()
		for _, a := range first {
			found = found || strings.HasPrefix(string(a), string(Everything)+":")
		}
		u.done(first)
	}
	if !found {
		t.Error("nobody is told that some are missing")
	}
}

// In a cluster nobody but the athd that sent a script may know of its change.
func TestChangesOfAScriptWithoutAReplyAreAnnouncedInACluster(t *testing.T) {
	args := []any{"old", "new", announce(GrantEnded, ath.NewTag(), ath.DigestOf("token").String()), announce(AgentChanged, ath.NewTag(), "")}
	for name, c := range map[string]struct {
		apart bool
		err   error
		want  int
	}{
		"the connection broke":                   {true, io.EOF, 2},
		"too late":                               {true, context.DeadlineExceeded, 2},
		"Redis refused":                          {true, redis.ErrCrossSlot, 0},
		"the script has announced it or not run": {false, io.EOF, 0},
	} {
		s := testFeed()
		s.feed.apart = c.apart
		s.mayHaveDone(c.err, args)
		if n := s.feed.unwritten.len(); n != c.want {
			t.Errorf("%s: %d changes are to be announced, want %d", name, n, c.want)
		}
	}
}

// Messages that are too many, or too long for any of ours, are neither waited for
// nor kept: the log is compared.
func TestMessagesThatCannotBeTakenHaveTheLogCompared(t *testing.T) {
	for name, messages := range map[string][]string{
		"too many": {"1 a", "2 b", "3 c"},
		"too long": {strings.Repeat(":", maxMessage+1)},
	} {
		s := testFeed()
		f := s.feed
		f.heard, f.look = make(chan string, 2), make(chan struct{}, 1)
		for _, m := range messages {
			f.pass(m)
		}
		for len(f.heard) > 0 {
			if m := <-f.heard; len(m) > maxMessage {
				t.Errorf("%s: %d bytes are kept", name, len(m))
			}
		}
		if !f.gap.Load() || len(f.look) != 1 {
			t.Errorf("%s: the log is not compared", name)
		}
	}
	if n := testing.AllocsPerRun(10, func() { announcement(strings.Repeat(":", maxAnnouncement+1)).change(1) }); n > 1 {
		t.Errorf("a long announcement is taken apart: %v allocations", n)
	}
}

// After the connections were replaced, since they led to a server that is no
// master any more, the subscription is at the new one too, and not silent at the
// old one for as long as that lives.
func TestTheSubscriptionFollowsTheConnections(t *testing.T) {
	s, err := Open(Config{URL: Embedded, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	waitFor(t, "the feed is notified", func() bool { return s.Feed().Notified })
	next := miniredis.RunT(t)
	s.server.connect = func(onConnect) redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: next.Addr()}) }
	old := s.server.current.Load()
	t.Cleanup(func() { old.client.Close() })
	s.server.current.Store(s.server.newLink()) // which closes nothing, other than leave
	waitFor(t, "a subscription at the new server", func() bool { return next.PubSubNumSub(s.feed.channel)[s.feed.channel] == 1 })
}

// Whoever may publish on the channel, as may every user of a Redis that has not
// forbidden it, can cost comparisons and caches, and hide no change.
func TestWhoeverPublishesOnTheChannelHidesNoChange(t *testing.T) {
	s, err := Open(Config{URL: Embedded, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	waitFor(t, "the feed is notified", func() bool { f := s.Feed(); return f.Notified && f.Generation > 0 })
	watch := s.Watch()
	defer watch.Close()
	for round := range 3 {
		generation := s.Feed().Generation
		messages := []string{
			"", "x", "18446744073709551616 a", "-1 a", "0 agent:" + string(ath.NewTag()) + "::n", strings.Repeat("9", maxMessage+1),
			fmt.Sprint(generation+1000, " ", announce(AgentChanged, ath.NewTag(), "")),
			// In the place of the change that comes next.
			fmt.Sprint(generation+1, " ", announce(AgentChanged, ath.NewTag(), "")),
		}
		if round == 1 { // and of the one behind it
			messages = append(messages, fmt.Sprint(generation+2, " ", announce(GrantEnded, ath.NewTag(), ath.DigestOf("x").String())))
		}
		for i, message := range messages {
			if err := s.server.client().Publish(ctx, s.feed.channel, message).Err(); err != nil {
				t.Fatal(round, i, err)
			}
		}
		tag := ath.NewTag()
		said := announce(AgentChanged, tag, "")
		s.feed.unwritten.add(said)
		var made uint64
		waitFor(t, "the change is in the log", func() bool {
			score, err := s.server.client().ZScore(ctx, changesLog, string(said)).Result()
			made = uint64(score)
			return err == nil
		})
		for {
			c, err := watch.Next(ctx)
			if err != nil {
				t.Fatalf("round %d: the change is hidden: %v", round, err)
			}
			if c.Tag == tag || c.Kind == Everything && c.Generation >= made {
				break
			}
		}
	}
}

// The user's OAuth token leaves the memory of every athd, also of one that is not
// asked about it again.
func TestDecryptedRecordsGoWhenTheyEnd(t *testing.T) {
	s, err := Open(Config{URL: Embedded, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the feed is notified", func() bool { f := s.Feed(); return f.Notified && f.Generation > 0 })
	now := time.Now()
	id := "https://agents.example/" + rand.Text()
	make1 := func() (ath.Token, Held[Grant]) {
		token := ath.NewToken(ath.NewTag())
		must(s.PutConnection(ctx, token.Tag(), Connection{Agent: id, User: "u", Provider: "p", Access: ath.NewSecret("gho_1")}, now.Add(time.Hour)))
		must(s.PutGrant(ctx, token, Grant{Agent: id, User: "u", Provider: "p", Connection: token.Tag(), Issued: now, Expires: now.Add(time.Hour)}))
		if r, err := s.Read(ctx, token, id); err != nil || r.Connection == nil {
			t.Fatalf("%+v, %v", r, err)
		}
		held, err := s.Grant(ctx, token)
		must(err)
		return token, held
	}
	must(s.CreateAgent(ctx, Agent{ID: id, Registered: now, ApprovalExpires: now.Add(time.Hour), Approvals: []Approval{{Provider: "p", Approved: ath.Scopes{"a"}}}}))
	kept := func() string {
		count := func(o interface{ count() int }) int { return o.count() }
		return fmt.Sprintf("%d agents, %d grants, %d connections", count(s.agents), count(s.grants), count(s.connections))
	}
	is := func(want string) {
		t.Helper()
		waitFor(t, want, func() bool { return kept() == want })
	}
	make1()
	_, grant := make1()
	is("1 agents, 2 grants, 2 connections")
	must(s.Revoke(ctx, grant, now))
	is("1 agents, 1 grants, 1 connections")
	agent, err := s.Agent(ctx, ath.AgentTag(id))
	must(err)
	must(s.SwapAgent(ctx, agent, agent.Value))
	is("0 agents, 1 grants, 1 connections")
	s.feed.unwritten.add(announce(Everything, "", ""))
	is("0 agents, 0 grants, 0 connections")
}

func (c *decryptCache[T]) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey)
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within ten seconds", what)
		}
		time.Sleep(time.Millisecond)
	}
}
