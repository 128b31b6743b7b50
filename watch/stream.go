package watch

import (
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// A Call is one that was allowed, and goes on.
type Call struct {
	Held     authz.Held
	Decision string // its decision_id
	// Ended is called once, and not after [Stream.Close] has returned, when the call is
	// to end. It must not wait, nor ask the registry.
	Ended func(Reason)
}

// A Stream is a call under watch. Close it.
type Stream struct {
	registry *Registry
	held     authz.Held
	decision string
	agentTag ath.Tag
	ended    func(Reason)
	since    time.Time

	// Guarded by the registry.
	links   [indexes]link
	until   time.Time // its end
	place   int       // in the heap of ends
	urgent  bool      // it waits to be judged
	sweep   bool      // the same, when there is time
	doubted time.Time // since when nobody could be asked about it; zero: no doubt
	judged  time.Time // when it was last known to hold
	user    string
	over    bool
	reason  Reason // why it ended; "": it did not
}

// Close ends the watch: the exchange is over. It may be called again.
func (s *Stream) Close() {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	s.registry.drop(s)
}

// A Reason says why a call under watch ended: a reason of [authz.Decider.Holds], or
// one of those below. It is the label of the metric and the field of the event.
type Reason string

const (
	// Draining says that this athd stops.
	Draining Reason = "draining"
	// Released says that this athd stops, and calls are to be kept: they go on without
	// a watch until the end that the reply's header set.
	Released Reason = "released"
)

// Reasons lists every reason.
func Reasons() []Reason {
	var all []Reason
	for _, r := range []authz.Reason{
		authz.InternalError, authz.StoreUnavailable, authz.RecordCorrupt, authz.TokenUnknown, authz.TokenRevoked, authz.TokenExpired,
		authz.AgentIDMismatch, authz.AgentUnknown, authz.AgentNotApproved, authz.ApprovalExpired, authz.ProviderUnknown, authz.ProviderMismatch,
		authz.ScopeMissing, authz.ScopeDenied, authz.ReauthorizationRequired, authz.ProviderUnavailable,
	} {
		all = append(all, Reason(r))
	}
	return append(all, Draining, Released)
}

// ends is a heap of streams by when they end: container/heap's interface.
type ends []*Stream

func (h ends) Len() int           { return len(h) }
func (h ends) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h ends) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *ends) Push(x any) {
	s := x.(*Stream)
	s.place = len(*h)
	*h = append(*h, s)
}

func (h *ends) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
