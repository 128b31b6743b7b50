package authz

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// onRead runs something in the middle of each decision.
type onRead struct {
	reader Reader
	do     func()
}

func (r onRead) Read(ctx context.Context, token ath.Token, agentID string) (tokenstore.Reading, error) {
	r.do()
	return r.reader.Read(ctx, token, agentID)
}

// A seen is what one decision showed of the set that it was made on.
type seen struct {
	reason          Reason
	leadsTo, metric string // the provider, as the decision and the metrics name it
}

// replaceable returns a Decider that finds providers by host and path, and what
// its decisions about r show.
func replaceable(t *testing.T, s Reader, providers *provider.Providers, r Request) (decide func() seen) {
	t.Helper()
	r.Provider, r.Mount, r.Host = "", "", "gw.example"
	metrics := make(chan string, 1) // Observe is called within Decide
	var mu sync.Mutex
	d, err := New(Config{
		Store: s, Providers: providers, ByHost: true, PublicURL: "https://gw.example", Logger: slog.New(slog.DiscardHandler),
		Audit: audit.New(audit.Config{Writer: io.Discard}), Now: func() time.Time { return now },
		Observe: func(_ *Decision, provider string, _ time.Duration) { metrics <- provider },
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() seen {
		mu.Lock()
		defer mu.Unlock()
		decision := d.Decide(t.Context(), r)
		return seen{decision.Reason(), decision.Provider, <-metrics}
	}
}

// The three sets differ in everything that a decision takes from one: whether
// there is the provider, its rules, and where its credentials go. A decision on
// parts of two of them would come out as none of these.
func snapshots(t *testing.T) (sets map[seen]*provider.Set) {
	t.Helper()
	old := providers(t)
	moved := *old.Get("shop")
	bare := provider.Provider{
		ID: moved.ID, DisplayName: moved.DisplayName, Scopes: moved.Scopes, ClientID: "another client",
		AuthorizeURL: moved.AuthorizeURL, TokenURL: moved.TokenURL, APIBase: moved.APIBase,
	}
	without, err := provider.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	other, err := provider.NewSet(&bare)
	if err != nil {
		t.Fatal(err)
	}
	return map[seen]*provider.Set{
		{Allowed, "shop", "shop"}:      old,
		{ScopeMissing, "shop", "shop"}: other,
		{ProviderUnknown, "", ""}:      without,
	}
}

// proves: P-3
func TestDecisionIsMadeOnTheSetThatItBeganWith(t *testing.T) {
	sets := snapshots(t)
	for before, first := range sets {
		for after, second := range sets {
			s, r := good()
			all := provider.NewProviders(first)
			decide := replaceable(t, onRead{s, func() { all.Replace(second) }}, all, r)
			if got := decide(); got != before {
				t.Errorf("replaced in its middle it came out as %+v, want %+v", got, before)
			}
			if got := decide(); got != after {
				t.Errorf("the next decision came out as %+v, want %+v", got, after)
			}
		}
	}
}

func TestProvidersAreReplacedWhileDecisionsRun(t *testing.T) {
	sets := snapshots(t)
	s, r := good()
	all := provider.NewProviders(providers(t))
	reader := readerFunc(func(ctx context.Context, token ath.Token, agent string) (tokenstore.Reading, error) {
		copied := *s // counts its reads
		return copied.Read(ctx, token, agent)
	})
	var running sync.WaitGroup
	done := make(chan struct{})
	came := make([]map[seen]int, 4)
	for i := range came {
		decide, counts := replaceable(t, reader, all, r), map[seen]int{}
		came[i] = counts
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					counts[decide()]++
				}
			}
		})
	}
	last := replaceable(t, reader, all, r)
	for range 200 {
		for want, set := range sets {
			all.Replace(set)
			if got := last(); got != want { // also at a Decider that others keep busy
				t.Errorf("after it was replaced: %+v, want %+v", got, want)
			}
		}
	}
	close(done)
	running.Wait()
	for _, counts := range came {
		for got, n := range counts {
			if sets[got] == nil {
				t.Errorf("%d decisions came out as no set would have them: %+v", n, got)
			}
		}
	}
}

type readerFunc func(context.Context, ath.Token, string) (tokenstore.Reading, error)

func (f readerFunc) Read(ctx context.Context, token ath.Token, agentID string) (tokenstore.Reading, error) {
	return f(ctx, token, agentID)
}
