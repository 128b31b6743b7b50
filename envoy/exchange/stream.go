package exchange

import (
	"fmt"
	"strings"
	"sync"

	"github.com/athd/athd/envoy"
)

// A Stream is where athd hears of one exchange.
type Stream struct {
	Route Route    // of the judge's filter; others have none
	Roles []string // in the order in which they are asked

	mu    sync.Mutex
	ended bool
	why   error
	wake  func()
}

// NewStream reads what the configuration says of a stream by gRPC metadata, and which
// roles are meant where it says none. What is said twice is an error: nobody knows
// which counts.
func NewStream(said map[string][]string, otherwise []string) (*Stream, error) {
	s, roles, runtime := &Stream{Roles: otherwise}, "", ""
	for key, to := range map[string]*string{
		envoy.StreamRole: &roles, envoy.StreamRuntime: &runtime,
		envoy.StreamProvider: &s.Route.Provider, envoy.StreamMount: &s.Route.Mount, envoy.StreamLimit: &s.Route.Stream,
	} {
		switch values := said[key]; len(values) {
		case 0:
		case 1:
			*to = values[0]
		default:
			return nil, fmt.Errorf("the stream's metadata says %s more than once", key)
		}
	}
	s.Route.Runtime = runtime == "true"
	if roles != "" {
		s.Roles = strings.Split(strings.ReplaceAll(roles, " ", ""), ",")
	}
	return s, nil
}

// MayObserve reports whether the stream's filter may go on without athd's answers: all
// that it is about is what becomes of a later call.
func (s *Stream) MayObserve() bool { return len(s.Roles) == 1 && s.Roles[0] == envoy.RoleRetry }

// End ends the exchange from outside of Hear, once the message that is being heard is
// answered: Envoy resets it. Nil ends the stream alone: the exchange goes on, and
// athd hears no more of it; where several roles are on it, it goes on, since the
// others have not ended theirs. A *Refusal has Envoy answer. The first call counts; it
// does not wait.
func (s *Stream) End(err error) {
	if err == nil && len(s.Roles) > 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended, s.why = true, err
	if s.wake != nil {
		go s.wake()
	}
}

// OnEnd has wake called once End is called, or was: in a goroutine of its own, since
// whoever calls End cannot wait.
func (s *Stream) OnEnd(wake func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
	if s.ended {
		go wake()
	}
}

// Why is what End was called with.
func (s *Stream) Why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}
