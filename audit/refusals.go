package audit

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
)

// Bounds of what is remembered of refusals.
const (
	// maxRefusals is how many are remembered of calls whose agent is known, and
	// how many of all others: strangers cannot push out the former.
	maxRefusals    = 64
	maxRefusalText = 256 // bytes of each text
)

// A Refusal is what is remembered of one, or of several that differ in nothing
// but their time: what its event says, and what was asked for. It holds no
// token, and no query.
type Refusal struct {
	Time       time.Time // of the last one
	DecisionID string    // of the last one
	Code       ath.Code  // that the client was answered
	Reason     string    // as in the event
	ProviderID string
	AgentID    string // of a call whose token was read, else as the client said
	Method     string
	Path       string // without its query
	Count      int    // of those alike
}

// like reports whether two differ in nothing that helps to find the cause.
func (r *Refusal) like(o *Refusal) bool {
	return r.Path == o.Path && r.Reason == o.Reason && r.AgentID == o.AgentID &&
		r.Code == o.Code && r.ProviderID == o.ProviderID && r.Method == o.Method
}

// refusals are the last ones, for an operator who asks: a flood of them costs
// each a copy of its texts, and no memory that grows.
type refusals struct {
	mu            sync.Mutex
	known, others []Refusal // oldest first; each of at most maxRefusals
}

// Refused remembers a refusal, whose event is recorded beside. known says that
// the agent is the one of a token that was read. It is never called for what
// is allowed.
func (l *Log) Refused(r Refusal, known bool) {
	if r.Time.IsZero() {
		r.Time = l.config.Now()
	}
	r.Count = 1
	// Clones: the texts may be parts of something large.
	for _, text := range []*string{&r.DecisionID, &r.Reason, &r.ProviderID, &r.AgentID, &r.Method, &r.Path} {
		*text = strings.Clone((*text)[:min(len(*text), maxRefusalText)])
	}
	l.refusals.mu.Lock()
	defer l.refusals.mu.Unlock()
	list := &l.refusals.others
	if known {
		list = &l.refusals.known
	}
	if i := slices.IndexFunc(*list, func(o Refusal) bool { return r.like(&o) }); i >= 0 {
		r.Count += (*list)[i].Count
		*list = slices.Delete(*list, i, i+1)
	} else if len(*list) == maxRefusals {
		*list = slices.Delete(*list, 0, 1)
	}
	*list = append(*list, r)
}

// Refusals returns the last refusals of this process, the newest first.
func (l *Log) Refusals() []Refusal {
	l.refusals.mu.Lock()
	all := slices.Concat(l.refusals.known, l.refusals.others)
	l.refusals.mu.Unlock()
	slices.SortStableFunc(all, func(a, b Refusal) int { return b.Time.Compare(a.Time) })
	return all
}
