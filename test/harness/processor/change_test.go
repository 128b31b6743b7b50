package processor

import (
	"net"
	"os/exec"
	"sync"
	"testing"
)

// A process that is being started has a copy of every descriptor until it runs: of a
// listener too, whose port would be taken.
func TestTheServerChangesWhileProcessesStart(t *testing.T) {
	s := Start(t)
	var starting sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		starting.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer starting.Wait()
	defer close(over)
	for range 300 {
		s.Play(nil)
		s.Refuse()
		if conn, err := net.Dial("tcp", s.Addr); err == nil {
			conn.Close()
			t.Fatal("somebody is there")
		}
	}
}
