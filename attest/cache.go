package attest

import (
	"container/list"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
)

const (
	maxDocuments  = 10_000
	failureMemory = 5 * time.Second
	awayMemory    = UnreachableFor
)

// documents is an LRU cache of identity documents, which are kept for as long
// as A-6 allows, and failures for some seconds, so that a dead host is not asked
// for every attestation. For each agent there is one fetch in flight at most;
// slots bound them all.
type documents struct {
	client    *http.Client
	allowHTTP bool
	now       func() time.Time
	inFlight  singleflight.Group
	slots     *slots
	turn      func(ctx context.Context, piece func()) error

	mu     sync.Mutex
	byID   map[string]*list.Element // of *entry
	recent *list.List               // the most recently used first
}

type entry struct {
	id    string
	doc   *document // nil: err says why
	err   error
	until time.Time
}

func newDocuments(c Config) *documents {
	return &documents{
		client: egress.NewClient(egress.Config{Policy: egress.Policy{AllowPrivate: c.AllowPrivateHosts, AllowHTTP: c.AllowHTTP}, InsecureTestingOnlyRootCAs: c.InsecureTestingOnlyRootCAs}), allowHTTP: c.AllowHTTP, now: c.Now,
		slots: newSlots(), turn: c.Turn,
		byID: map[string]*list.Element{}, recent: list.New(),
	}
}

// get returns the agent's document, and whether it was in the cache.
func (d *documents) get(ctx context.Context, agent ath.AgentID) (doc *document, cached bool, err error) {
	if e, ok := d.look(agent.String()); ok {
		return e.doc, true, e.err
	}
	doc, err = d.fetchShared(ctx, agent)
	return doc, false, err
}

// fetchShared gets the document past the cache, once for all callers who ask
// for it at the same time. The fetch goes on when a caller's ctx ends, for the
// others who wait for it and for the cache.
func (d *documents) fetchShared(ctx context.Context, agent ath.AgentID) (*document, error) {
	result := d.inFlight.DoChan(agent.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return d.fetch(ctx, agent)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*document), nil
	case <-ctx.Done():
		return nil, unreachable{context.Cause(ctx)}
	}
}

// fetch waits for a slot, gets the document and keeps what came of it.
func (d *documents) fetch(ctx context.Context, agent ath.AgentID) (*document, error) {
	var doc *document
	var fresh time.Duration
	asked := false
	// The port is left out: a host with many ports is one host.
	err := d.slots.run(ctx, agent.Host().Name(), func(ctx context.Context) (err error) {
		asked = true
		doc, fresh, err = fetchDocument(ctx, d.client, agent, d.allowHTTP, d.turn)
		return err
	})
	switch {
	case !asked, errors.Is(err, errPreempted): // our own limit, not the agent's failure: not remembered
		return nil, unreachable{err}
	case err != nil:
		memory := failureMemory
		if isUnreachable(err) {
			memory = awayMemory
		}
		d.keep(&entry{id: agent.String(), err: err, until: d.now().Add(memory)})
		return nil, err
	}
	d.keep(&entry{id: agent.String(), doc: doc, until: d.now().Add(fresh)})
	return doc, nil
}

func (d *documents) look(id string) (*entry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	element := d.byID[id]
	if element == nil {
		return nil, false
	}
	e := element.Value.(*entry)
	if !d.now().Before(e.until) {
		d.drop(element)
		return nil, false
	}
	d.recent.MoveToFront(element)
	return e, true
}

// keep stores e and evicts the least recently used entries when there are too
// many. A failure does not replace a document that is still good: a host that
// answers once in a while must not lose its agents their standing.
func (d *documents) keep(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.byID[e.id]; old != nil {
		if held := old.Value.(*entry); e.err != nil && held.doc != nil && d.now().Before(held.until) {
			return
		}
		d.drop(old)
	}
	d.byID[e.id] = d.recent.PushFront(e)
	for d.recent.Len() > maxDocuments {
		d.drop(d.recent.Back())
	}
}

// drop needs d.mu.
func (d *documents) drop(element *list.Element) {
	delete(d.byID, element.Value.(*entry).id)
	d.recent.Remove(element)
}
