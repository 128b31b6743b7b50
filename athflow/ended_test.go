package athflow

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A revoker wants all tokens to be revoked, and keeps which ones are going to be.
type revoker struct {
	judged string
	queued []string
}

func (r *revoker) Judge(_ ath.Tag, c *tokenstore.Connection) tokenstore.Upstream {
	r.judged = c.Access.Reveal()
	return tokenstore.UpstreamQueued
}

func (r *revoker) Ended(tokenstore.ConnectionRef, tokenstore.Upstream) {
	r.queued = append(r.queued, r.judged)
}

// A request whose time is over, or whose client is gone, still undoes what it cannot
// put on record or store.
// proves: U-1, V-5
func TestARequestUndoesAfterItsOwnTime(t *testing.T) {
	var revoked revoker
	store, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Upstream: &revoked})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f := &Flow{Config: Config{Server: &httpapi.Server{Config: httpapi.Config{Store: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now}}}}
	over, cancel := context.WithCancel(t.Context())
	cancel()

	p := &provider.Provider{ID: "forge"}
	connection := tokenstore.Connection{
		Agent: "https://a.example/agent.json", User: "alice", Provider: p.ID, Access: ath.NewSecret("of-before"),
		Scopes: ath.Scopes{"read"}, Created: time.Now(), Destination: p.Destination(), Ended: true,
	}
	tag := ath.NewTag()
	if err := store.PutConnection(t.Context(), tag, connection, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	v := &visit{Call: &httpapi.Call{ID: "x"}, session: &tokenstore.Session{AgentID: connection.Agent, User: "alice", Provider: p.ID, Connection: tag}}

	t.Run("a healing", func(t *testing.T) {
		h := &healing{visit: v, of: *v.healing(), provider: p}
		if h.state, err = store.HealState(t.Context(), &h.of, ath.RenewalTerms{}); err != nil {
			t.Fatal(err)
		}
		tokens, came := provider.Tokens{Access: ath.NewSecret("unrecorded"), Scopes: connection.Scopes, User: "alice"}, time.Now()
		if err := store.Heal(t.Context(), &h.state, healedBy(h.state.Connection, tokens, time.Now()), came); err != nil {
			t.Fatal(err)
		}
		f.unheal(over, h, tokens, came)
		now, err := store.HealState(t.Context(), &h.of, ath.RenewalTerms{})
		if err != nil || !now.Connection.Access.Equal("of-before") || !now.Connection.Ended {
			t.Errorf("the connection has the tokens that nobody has put on record: %v", err)
		}
		if !slices.Contains(revoked.queued, "unrecorded") {
			t.Errorf("they are not handed back: %q", revoked.queued)
		}
	})

	t.Run("a consent", func(t *testing.T) {
		lost := connection
		lost.Access = ath.NewSecret("unstored")
		f.discard(over, v, ath.NewTag(), &lost)
		if !slices.Contains(revoked.queued, "unstored") {
			t.Errorf("it is not handed back: %q", revoked.queued)
		}
	})
}
