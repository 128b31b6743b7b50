// Package replicas holds that any number of athd on any kind of Redis behave
// as one, and that they behave when Redis does not: two athd processes behind
// one Envoy, on a redis-server, a Redis Cluster and Sentinels that the tests
// start.
//
// ATHD_ROUNDS says how often each race is run; by default it is a few times.
package replicas

import (
	"os"
	"strconv"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) { stage.Main(m) }

// rounds is how often each race is run.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("ATHD_ROUNDS")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("ATHD_ROUNDS is %q", text)
	}
	return n
}
