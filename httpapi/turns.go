package httpapi

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/athd/athd/ath"
)

// Turns bound the processor time of the handshake apart from that of decisions,
// which share the process: of the pieces of work that strangers can ask for
// (reading a body, verifying a signature, drawing a page) there is one at a
// time for each processor but one, and each is bounded by the size of what it
// works on. The others wait in a queue of their own, not among what can run, so
// that a decision stands behind one piece and never behind a hundred. Nobody
// waits for store or network with a turn in hand.
type Turns struct{ free chan struct{} }

// turnWait is how long a piece of work waits for its turn: ten seconds of
// pieces would be ahead of one that waited for longer.
const turnWait = time.Second

// NewTurns returns turns for the processors that there are by now.
func NewTurns() *Turns {
	return &Turns{make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))}
}

// Run does one piece of work when it is its turn. What could run meanwhile runs
// before and after it.
func (t *Turns) Run(ctx context.Context, piece func()) error {
	select {
	case t.free <- struct{}{}:
	default:
		ctx, cancel := context.WithTimeout(ctx, turnWait)
		defer cancel()
		select {
		case t.free <- struct{}{}:
		case <-ctx.Done():
			return errBusy()
		}
	}
	defer func() {
		<-t.free
		runtime.Gosched()
	}()
	runtime.Gosched()
	piece()
	return nil
}

func errBusy() error {
	return ath.Errorf(ath.InternalError, "There is too much to do now; try again.").WithStatus(http.StatusServiceUnavailable)
}

// Work runs a piece of work in its turn. Operators do not wait: nothing of
// theirs is a stranger's.
func (s *Server) Work(ctx context.Context, in Lane, piece func()) error {
	if in == LaneOperators {
		piece()
		return nil
	}
	err := s.Turns.Run(ctx, piece)
	if err != nil {
		s.Limited("busy")
	}
	return err
}
