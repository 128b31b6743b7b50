// Package bench measures what athd costs on the way of a request. Nothing of
// it is a test: make bench runs it, make test does not.
//
//	64 connections ─▶ Envoy ─▶ upstream      A: no ext_authz
//	                    │
//	                    ├─▶ no-op server     B: what ext_authz costs anyone
//	                    └─▶ athd ─▶ Redis    D: what athd costs, one round trip for each decision
//
// They take turns in short rounds, and what counts is the median of the ratios
// of each round: machines drift, and a figure without its neighbour says
// nothing. Envoy has a processor of its own: see leaveOne. athd is the binary,
// the no-op servers are processes of their own with the gRPC settings of athd,
// and the one Envoy runs what athd bootstrap prints, once for each variant:
// onceForEach says what differs. With -base a second athd takes turns with D.
package bench

import (
	"flag"
	"log"
	"os"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(noopSocket); socket != "" {
		serveNoop(socket)
		return
	}
	if addr := os.Getenv(stubAddr); addr != "" {
		serveStub(addr)
		return
	}
	if flag.Parse(); *pin {
		if err := leaveOne(); err != nil {
			log.Fatalf("no processor for Envoy alone: %v (-pin=false does without)", err)
		}
	}
	code := m.Run()
	stage.RemoveBinary()
	os.Exit(code)
}
