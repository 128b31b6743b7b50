package watch

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/tokenstore"
)

// Operators are told of what goes on, the newest first, and of nothing that is over.
func TestStreamsAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		if seen, all := w.List("", 10); len(seen) != 0 || all != 0 {
			t.Errorf("%v of %d, want none", seen, all)
		}
		first, second, third := call(1, "a", "shop"), call(2, "b", "shop"), call(3, "a", "other")
		one := w.begin(first)
		time.Sleep(time.Second)
		two := w.begin(second)
		time.Sleep(time.Second)
		three := w.begin(third)
		decisions := func(agent string, most int) (out string, all int) {
			seen, all := w.List(agent, most)
			for _, s := range seen {
				out += s.Decision + " "
			}
			return out, all
		}
		for _, tt := range []struct {
			agent string
			most  int
			want  string
			all   int
		}{
			{"", 10, "dec_3 dec_2 dec_1 ", 3},
			{"", 2, "dec_3 dec_2 ", 3},
			{"https://a.example/", 10, "dec_3 dec_1 ", 2},
			{"https://a.example/", 1, "dec_3 ", 2},
			{"https://c.example/", 10, "", 0},
		} {
			if got, all := decisions(tt.agent, tt.most); got != tt.want || all != tt.all {
				t.Errorf("%q, %d: %q of %d, want %q of %d", tt.agent, tt.most, got, all, tt.want, tt.all)
			}
		}
		seen, _ := w.List("", 1)
		want := Seen{
			Decision: "dec_3", Agent: third.Held.Agent, Provider: "other", Scope: "read", Connection: third.Held.Tag,
			Since: time.Now(), Until: third.Held.Until,
		}
		if seen[0] != want {
			t.Errorf("%+v, want %+v", seen[0], want)
		}
		w.say(third.Held.Grant, authz.Holding{Reason: authz.Allowed, Until: time.Now().Add(time.Minute)})
		w.changes <- tokenstore.Change{Kind: tokenstore.AgentChanged, Tag: ath.AgentTag(third.Held.Agent)}
		synctest.Wait()
		if seen, _ := w.List("", 1); !seen[0].Until.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("an approval that ends sooner: until %v", seen[0].Until)
		}
		two.Close()
		if got, all := decisions("", 10); got != "dec_3 dec_1 " || all != 2 {
			t.Errorf("after one is over: %q of %d", got, all)
		}
		one.Close()
		three.Close()
	})
}
