package attest

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	maxFetches   = 128
	maxPerHost   = 4
	maxWaiting   = 64 // for one host
	minFetchTime = 500 * time.Millisecond
)

var (
	errPreempted = errors.New("the host was slow, and others were waiting")
	errHostBusy  = errors.New("too many documents of this host were asked for at once")
)

// slots bound the fetches in flight: maxFetches in all, maxPerHost of one host.
// No host is asked for so much that the others would wait for it; and when many
// hosts are slow, a fetch that took longer than minFetchTime is preempted by one
// that waits, so that a thousand slow hosts delay an honest agent and do not
// stop it.
type slots struct {
	taken   chan struct{} // a semaphore: holds one for each slot that is taken
	preempt chan struct{} // hands a slot from a slow fetch to one that waits

	mu    sync.Mutex
	hosts map[string]*hostSlots
}

type hostSlots struct {
	taken chan struct{} // a semaphore, as that of slots
	users int           // fetches that hold a slot or wait; removed when it reaches 0
}

func newSlots() *slots {
	return &slots{taken: make(chan struct{}, maxFetches), preempt: make(chan struct{}), hosts: map[string]*hostSlots{}}
}

// run runs fetch once it has a slot. The fetch's ctx ends when it is preempted.
func (s *slots) run(ctx context.Context, host string, fetch func(context.Context) error) error {
	h, err := s.enter(host)
	if err != nil {
		return err
	}
	defer s.leave(host, h)
	select {
	case h.taken <- struct{}{}:
		defer func() { <-h.taken }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case s.taken <- struct{}{}:
	default:
		select {
		case s.taken <- struct{}{}:
		case s.preempt <- struct{}{}: // somebody's slot is ours now
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan bool)
	go func() { ended <- s.yield(ctx, cancel) }()
	err = fetch(ctx)
	cancel(nil)
	if preempted := <-ended; !preempted {
		<-s.taken
	} else if err != nil {
		return errPreempted
	}
	return err
}

// yield gives the slot of a slow fetch to one that waits, and reports whether
// it did.
func (s *slots) yield(ctx context.Context, cancel context.CancelCauseFunc) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(minFetchTime):
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.preempt:
		cancel(errPreempted)
		return true
	}
}

func (s *slots) enter(host string) (*hostSlots, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[host]
	if h == nil {
		h = &hostSlots{taken: make(chan struct{}, maxPerHost)}
		s.hosts[host] = h
	}
	if h.users >= maxPerHost+maxWaiting {
		return nil, errHostBusy
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
