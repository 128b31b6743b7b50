// Package streams opens exchanges of every kind through a real Envoy (server-sent
// events, WebSockets, gRPC streams, uploads, downloads, long polls, over HTTP/1 and
// HTTP/2), ends what they stand on, and looks when and how their clients see it:
// two athd on one Redis, each behind an Envoy of its own.
//
// make test has a row of each kind; make test-streams has the whole table, each
// kind with each event at either athd. make bench-streams measures how soon they end,
// and what many of them cost.
package streams

import (
	"os"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) { stage.Main(m) }

// whole reports whether the whole table is wanted.
func whole() bool { return os.Getenv("ATHD_STREAMS_WHOLE") != "" }

// full reports whether figures are to be had whole, and held to their goals.
func full() bool { return os.Getenv("ATHD_STREAMS_FULL") != "" }
