package watched

import (
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/streams"
)

// athd ends an exchange by an answer in place of the API's, whenever it likes, and the
// client sees it at once: also where streams outlive athd, and failures count for nothing.
// proves: V-4
func TestAnAnswerEndsAnExchangeAtOnce(t *testing.T) {
	onLoss(t, func(t *testing.T, r *rig, _ bool) {
		for _, k := range streams.Kinds() {
			t.Run(k.Name, func(t *testing.T) {
				// A second is Envoy's delayed_close_timeout, which would hold up every end. A busy
				// machine holds up some.
				const delayed, tries = time.Second, 5
				quickest := patience
				for try := 0; try < tries && quickest >= delayed; try++ {
					s := r.open(t, k)
					h := r.take(1)[0]
					since := time.Now()
					h.end <- refusal
					end := ends(t, s)
					quickest = min(quickest, end.At.Sub(since))
					if k.Late && end.How != "status 401" {
						t.Errorf("no answer had begun, and the client saw %s", end)
					}
					r.until("the API sees the end", func() bool { return r.api.Open() == 0 })
				}
				if quickest >= delayed {
					t.Errorf("the quickest of %d ended after %v", tries, quickest)
				}
			})
		}
	})
}

// An error ends an exchange, unless streams outlive athd; no error never does.
// proves: V-4
func TestAStreamThatIsOverEndsAnExchangeUnlessItIsKept(t *testing.T) {
	onLoss(t, func(t *testing.T, r *rig, keeps bool) {
		for _, k := range streams.Kinds() {
			t.Run(k.Name, func(t *testing.T) {
				s := r.open(t, k)
				r.take(1)[0].end <- clean
				goesOn(t, s, k.Late)
				s.Close()

				s = r.open(t, k)
				r.take(1)[0].end <- failure
				if keeps {
					goesOn(t, s, k.Late)
					s.Close()
				} else if end := ends(t, s); k.Late && end.How != "status 503" {
					t.Errorf("the client saw %s", end)
				}
			})
		}
	})
}

// So it is when athd dies.
func TestExchangesEndWithAthdUnlessTheyAreKept(t *testing.T) {
	onLoss(t, func(t *testing.T, r *rig, keeps bool) {
		late := map[*streams.Stream]bool{}
		for _, k := range streams.Kinds() {
			late[r.open(t, k)] = k.Late
		}
		r.take(len(late))
		r.processor.Refuse()
		for s, late := range late {
			if keeps {
				goesOn(t, s, late)
			} else {
				ends(t, s)
			}
		}
	})
}

// onLoss runs a test with each way.
func onLoss(t *testing.T, test func(t *testing.T, r *rig, keeps bool)) {
	t.Run("end", func(t *testing.T) { test(t, newRig(t), false) })
	t.Run("keep", func(t *testing.T) { test(t, newRig(t, kept), true) })
}

// Streams that are open keep no decision waiting: with no room for another one, calls
// are judged as ever, and only what would be watched is refused, or goes on unwatched
// where streams outlive athd.
func TestStreamsDoNotStarveDecisions(t *testing.T) {
	events := streams.Kinds()[0]
	onLoss(t, func(t *testing.T, r *rig, keeps bool) {
		r.envoy.Stop()
		r.start(oneStream(t, r.config))
		r.open(t, events)
		r.take(1)
		for range 20 {
			if status, message := r.short("GET", streams.ShortPath, nil, 0); status != http.StatusOK {
				t.Fatalf("a short call: %d %s", status, message)
			}
		}
		if keeps {
			goesOn(t, r.open(t, events), false)
		} else if status, message := r.short("GET", streams.EventsPath, nil, 0); status != http.StatusServiceUnavailable || message != "The authorization service (athd) cannot be reached." {
			t.Errorf("a second stream: %d %s", status, message)
		}
		if n := len(r.take(0)); n != 0 {
			t.Errorf("athd heard of %d more", n)
		}
	})
}

// oneStream is a configuration whose cluster of streams has room for one.
func oneStream(t *testing.T, config string) string {
	t.Helper()
	b := envoyconfig.Parse(t, []byte(config))
	for _, c := range b.GetStaticResources().GetClusters() {
		if c.GetName() == envoy.StreamsCluster {
			c.GetCircuitBreakers().GetThresholds()[0].MaxRequests = wrapperspb.UInt32(1)
		}
	}
	text, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
