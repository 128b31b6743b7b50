package watch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// maxEntry is what a watched call may cost beside its gRPC stream, in bytes.
const maxEntry = 1 << 10

// Each call here has a grant, a connection and an agent of its own, with an id of a
// usual length, and came as a text of Envoy's metadata: the dearest there is.
func TestAnEntryIsSmall(t *testing.T) {
	const n = 20000
	r, err := New(Config{
		Holds: func(_ context.Context, h authz.Held) authz.Holding {
			return authz.Holding{Reason: authz.Allowed, Until: h.Until, User: "user-1"}
		},
		Changes: func() Changes { return nil }, Providers: provider.NewProviders(nil), Limits: Limits{n, n, n},
		Audit: audit.New(audit.Config{Writer: io.Discard}), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.running = true
	before := heapBytes()
	streams := make([]*Stream, n)
	for i := range n {
		token := ath.NewToken(ath.NewTag())
		text := authz.Held{
			Tag: token.Tag(), Grant: token.Digest(), Renewal: ath.DigestOf("renewal"), Agent: fmt.Sprintf("https://agents.example.com/%08d/agent.json", i),
			Provider: "github", Scope: "repo:read", Rules: 1, Until: time.Now().Add(time.Hour),
		}.Text()
		held, err := authz.ParseHeld(text)
		if err != nil {
			t.Fatal(err)
		}
		if streams[i], err = r.Begin(t.Context(), Call{Held: held, Decision: ath.NewDecisionID(), Ended: func(Reason) {}}); err != nil {
			t.Fatal(err)
		}
	}
	each := (heapBytes() - before) / n
	runtime.KeepAlive(streams)
	t.Logf("%d bytes for each of %d calls under watch, of at most %d", each, n, maxEntry)
	if each > maxEntry || each < 200 {
		t.Errorf("a call under watch costs %d bytes", each)
	}
	for _, s := range streams {
		s.Close()
	}
	if r.Len() != 0 {
		t.Error("some are left")
	}
}

func heapBytes() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Whatever begins, ends and changes in whatever order: a call whose grant ended ends,
// one that lives lives, and nothing is left of those that are over.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				random := rand.New(rand.NewPCG(seed, 1))
				var mu sync.Mutex
				type begun struct {
					call   Call
					stream *watched
				}
				live := map[int]begun{}
				grants := make([]Call, 12)
				for i := range grants {
					grants[i] = call(i, fmt.Sprint("agent", i%4), []string{"shop", "other"}[i%2])
					grants[i].Held.Tag = grants[i%6].Held.Tag
				}
				for i := range 400 {
					c := grants[random.IntN(len(grants))]
					switch random.IntN(6) {
					case 0, 1, 2:
						go func() {
							s, err := w.tryBegin(c)
							if err != nil {
								return
							}
							mu.Lock()
							live[i] = begun{c, s}
							mu.Unlock()
						}()
					case 3:
						mu.Lock()
						for k, x := range live {
							x.stream.Close()
							delete(live, k)
							break
						}
						mu.Unlock()
					case 4:
						if random.IntN(4) == 0 {
							w.revoke(c)
							w.changes <- tokenstore.Change{Kind: tokenstore.GrantEnded, Tag: c.Held.Tag, Digest: c.Held.Grant}
						}
					case 5:
						w.changes <- tokenstore.Change{Kind: tokenstore.AgentChanged, Tag: ath.AgentTag(c.Held.Agent)}
					}
				}
				synctest.Wait()
				n := 0
				for _, x := range live {
					var revoked bool
					w.set(func() { _, revoked = w.reasons[x.call.Held.Grant] })
					if ended := x.stream.Reason() != ""; ended != revoked {
						t.Errorf("%s: revoked %v, ended %v", x.call.Decision, revoked, ended)
					}
					if !revoked {
						n++
					}
				}
				if w.Len() != n {
					t.Errorf("%d are watched, want %d", w.Len(), n)
				}
			})
		})
	}
}
