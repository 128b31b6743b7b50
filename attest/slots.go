package attest

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	maxFlights  = 128
	maxPerHost  = 4
	maxWaiting  = 64 // for one host
	minimumTime = 500 * time.Millisecond
)

var (
	errGaveWay = errors.New("the host was slow, and others were waiting")
	errCrowded = errors.New("too many documents of this host were asked for at once")
)

// slots bound the fetches under way: [maxFlights] in all, [maxPerHost] of one
// host. No host is asked for so much that the others would wait for it; and
// when many hosts are slow, a fetch of more than [minimumTime] gives its slot
// to one that waits, so that a thousand slow hosts delay an honest agent and
// do not stop it.
type slots struct {
	free  chan struct{} // holds a token for each slot that is taken
	yield chan struct{} // a slot that changes hands

	mu    sync.Mutex
	hosts map[string]*hostSlots
}

type hostSlots struct {
	free  chan struct{}
	users int // who hold or wait; the last one turns off the light
}

func newSlots() *slots {
	return &slots{free: make(chan struct{}, maxFlights), yield: make(chan struct{}), hosts: map[string]*hostSlots{}}
}

// run runs fetch when there is room for it. The fetch's ctx ends when it has
// to give way.
func (s *slots) run(ctx context.Context, host string, fetch func(context.Context) error) error {
	h, err := s.enter(host)
	if err != nil {
		return err
	}
	defer s.leave(host, h)
	select {
	case h.free <- struct{}{}:
		defer func() { <-h.free }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case s.free <- struct{}{}:
	default:
		select {
		case s.free <- struct{}{}:
		case s.yield <- struct{}{}: // somebody's slot is ours now
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	gone := make(chan bool)
	go func() { gone <- s.offer(ctx, cancel) }()
	err = fetch(ctx)
	cancel(nil)
	if gave := <-gone; !gave {
		<-s.free
	} else if err != nil {
		return errGaveWay
	}
	return err
}

// offer gives the slot of a slow fetch to whoever waits for one, and reports
// whether it did.
func (s *slots) offer(ctx context.Context, cancel context.CancelCauseFunc) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(minimumTime):
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.yield:
		cancel(errGaveWay)
		return true
	}
}

func (s *slots) enter(host string) (*hostSlots, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[host]
	if h == nil {
		h = &hostSlots{free: make(chan struct{}, maxPerHost)}
		s.hosts[host] = h
	}
	if h.users >= maxPerHost+maxWaiting {
		return nil, errCrowded
	}
	h.users++
	return h, nil
}

func (s *slots) leave(host string, h *hostSlots) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(s.hosts, host)
	}
}
