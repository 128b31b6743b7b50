package streams

import (
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realenvoy"
)

// Without anything between client and API every kind opens, goes on, and ends at
// once for both sides.
func TestEveryKindOpensAndEnds(t *testing.T) {
	a := StartAPI(t, realenvoy.NewAuthority(t).Certificate("127.0.0.1"))
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			s, err := k.Open(t.Context(), a, Caller{Envoy: a.Addr, Agent: "agent", Token: "token"})
			if err != nil {
				t.Fatal(err)
			}
			if end, ok := s.Wait(time.Now().Add(4 * pace)); ok {
				t.Fatalf("it ended by itself: %s", end)
			}
			if a.Open() != 1 {
				t.Errorf("the API has %d exchanges, want 1", a.Open())
			}
			s.Close()
			if how := s.End().How; how != "closed" && how != "gRPC Canceled" {
				t.Errorf("it ended by %s", how)
			}
			for end := time.Now().Add(patience); a.Open() != 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it goes on at the API")
				}
			}
		})
	}
}
