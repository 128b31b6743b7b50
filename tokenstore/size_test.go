package tokenstore_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// N-2. What docs/sizing.md says of each kind of record is what a redis-server
// says, within a fifth.
func TestSizesAreThoseOfTheDocs(t *testing.T) {
	server := realredis.Start(t)
	s, ctx, raw := backend{url: server.URL(), keys: newKeyset(t)}.open(t), t.Context(), server.Client()
	f := newFlow(t)
	f.store(t, s)
	session, err := s.Session(ctx, f.sessionID.Tag())
	noErr(t, err)
	grant, err := s.Grant(ctx, f.token)
	noErr(t, err)
	_, err = s.Once(ctx, ath.NewTag(), "jti", "x", time.Minute)
	noErr(t, err)
	size := func(ending string) int {
		var sizes []int
		for key := range server.Dump(t) {
			if strings.Contains(key, ending) {
				// What MEMORY USAGE leaves out are a key's places in the tables of keys
				// and of their ends.
				n, err := raw.MemoryUsage(ctx, key).Result()
				noErr(t, err)
				sizes = append(sizes, int(n))
			}
		}
		if len(sizes) == 0 {
			t.Fatalf("no key has %q", ending)
		}
		return slices.Max(sizes)
	}
	got := map[string]int{
		"agent": size(":agent"), "session": size(":session"), "live token": size(":grant:") + size(":grants"),
		"connection": size(":conn") + size(":conns") + size(":owner") + size(":user-conns"), "jti": size(":jti:"),
	}
	next := session.Value
	next.Phase = tokenstore.Consumed
	_, err = s.SwapSession(ctx, session, next)
	noErr(t, err)
	got["end of a session"] = size(":ended")
	noErr(t, s.Revoke(ctx, grant, time.Now()))
	got["ended token"] = size(":grant:")
	g, _ := consented(t, s)
	_, err = s.Renewal(ctx, g.standing(t, s))
	noErr(t, err)
	got["standing consent"] = size(":renewal:")
	added, err := s.RuntimeProvider(ctx, "tracker")
	noErr(t, err)
	_, err = s.SwapRuntimeProvider(ctx, added, tokenstore.RuntimeProvider{
		ID: "tracker", Created: time.Now(), CreatedBy: "ops", Config: ath.NewSecret(`{"display_name": "The Tracker", "categories": ["development"],
			"authorize_endpoint": "https://login.example.com/authorize", "token_endpoint": "https://login.example.com/token",
			"api_base_url": "https://api.tracker.example/v2", "client_id": "athd", "client_secret": "q7Vw2mKx9TzR4cYbN6hJ1sLd8FgP3aEu",
			"available_scopes": ["issues:read", "issues:write"]}`),
	})
	noErr(t, err)
	got["added provider"] = size(":provider:")

	page, err := os.ReadFile("../docs/sizing.md")
	noErr(t, err)
	said := map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z ]+) \| ([0-9,]+) bytes \|`).FindAllStringSubmatch(string(page), -1) {
		n, err := strconv.Atoi(strings.ReplaceAll(row[2], ",", ""))
		noErr(t, err)
		said[row[1]] = n
	}
	for what, n := range got {
		if d := said[what]; 5*n > 6*d || 5*n < 4*d {
			t.Errorf("%s takes %d bytes, and docs/sizing.md says %d", what, n, d)
		}
	}
	t.Log(fmt.Sprint(got))
}
