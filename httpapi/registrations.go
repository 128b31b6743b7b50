package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// Registrations reads and changes registrations for whoever serves steps:
// agents their own, and operators any.
type Registrations struct {
	store *tokenstore.Store
	log   *slog.Logger
	now   func() time.Time
}

// At reads the registration that the path names. That there is none is
// NOT_FOUND.
func (r *Registrations) At(ctx context.Context, c *Call) (tokenstore.Held[tokenstore.Agent], error) {
	var none tokenstore.Held[tokenstore.Agent]
	unknown := ath.Errorf(ath.NotFound, "There is no such registration.")
	id, err := ath.ParseClientID(c.Client)
	if err != nil {
		return none, unknown
	}
	held, err := r.store.Agent(ctx, id.Tag())
	if errors.Is(err, tokenstore.ErrNotFound) {
		return none, unknown
	}
	if err != nil {
		return none, err
	}
	if held.Value.ClientID != c.Client {
		return none, unknown
	}
	c.Event.AgentID = held.Value.ID
	return held, nil
}

// IsNotFound reports whether err says that there is no such registration.
func IsNotFound(err error) bool {
	e := (*ath.Error)(nil)
	return errors.As(err, &e) && e.Code == ath.NotFound
}

// Edit moves a registration on from what it is by now: whoever writes at the
// same time, each change is made to what the others left, and none is lost.
// change may be called several times. It returns the registration as it was
// written, or, removed, as it was last.
func (r *Registrations) Edit(ctx context.Context, held tokenstore.Held[tokenstore.Agent], change func(*tokenstore.Agent) (remove bool, err error)) (*tokenstore.Agent, error) {
	clientID := held.Value.ClientID
	for round := 1; ; round++ {
		next := held.Value
		next.Approvals = slices.Clone(next.Approvals)
		remove, err := change(&next)
		if err != nil {
			return nil, err
		}
		if remove {
			err = r.store.RemoveAgent(ctx, held)
		} else {
			err = r.store.SwapAgent(ctx, held, next)
		}
		if !errors.Is(err, tokenstore.ErrChanged) {
			if now := &next; err == nil {
				if remove {
					now = nil
				}
				r.Release(ctx, &held.Value, now)
			}
			return &next, err
		}
		if err := Backoff(ctx, round); err != nil {
			return nil, err
		}
		held, err = r.store.Agent(ctx, ath.AgentTag(next.ID))
		if errors.Is(err, tokenstore.ErrNotFound) || err == nil && held.Value.ClientID != clientID {
			return nil, ath.Errorf(ath.NotFound, "There is no such registration.")
		}
		if err != nil {
			return nil, err
		}
	}
}

// Release counts a registration no longer that does not wait any more. If that
// cannot be said now, it counts until it would have been forgotten.
func (r *Registrations) Release(ctx context.Context, was, is *tokenstore.Agent) {
	if was.Standing() != tokenstore.Pending || is != nil && is.Standing() == tokenstore.Pending {
		return
	}
	if err := r.store.ReleasePending(ctx, ath.AgentTag(was.ID)); err != nil {
		r.log.WarnContext(ctx, "a registration that is decided still counts as one that waits", "agent_id", was.ID, "error", err)
	}
}

// CheckHost refuses an agent whose host is suspended, also one that registered
// while that was done.
func (r *Registrations) CheckHost(ctx context.Context, agentID string) error {
	held, err := r.store.HostSuspensions(ctx)
	if err != nil {
		return err
	}
	host := ath.AgentHost(agentID)
	for _, s := range held.Value {
		if s.Hosts.Match(host) {
			return ath.Errorf(ath.AgentUnapproved, "The agent's host is suspended.").WithDetail("agent_status", string(tokenstore.Suspended))
		}
	}
	return nil
}

// EndConnections ends what hangs on an agent that is dead already: what cannot
// be ended now is out of reach, and its end comes within the hour.
func (r *Registrations) EndConnections(ctx context.Context, c *Call, agentID string) int {
	n, err := r.store.EndConnections(ctx, agentID, r.now().UTC())
	if err != nil {
		r.log.WarnContext(ctx, "not every connection of an agent could be ended; they age out within the hour",
			"decision_id", c.ID, "agent_id", agentID, "error", err)
	}
	return n
}

// Backoff waits a little before another try, up to 2 ms per round and at most
// 40 ms: of many writers one succeeds in each round.
func Backoff(ctx context.Context, round int) error {
	t := time.NewTimer(time.Duration(rand.Int64N(int64(min(2*round, 40) * int(time.Millisecond)))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Revoke ends a token for an agent, or, without one, for an operator.
func (r *Registrations) Revoke(ctx context.Context, c *Call, agent *tokenstore.Agent, req *api.RevokeRequest) (api.RevokeReply, error) {
	if req.Token.IsZero() {
		return api.RevokeReply{}, ath.Errorf(ath.TokenInvalid, "token is missing.").WithStatus(400)
	}
	found, err := r.end(ctx, c, agent, req.Token.Reveal())
	if err != nil {
		return api.RevokeReply{}, err
	}
	c.Event.Kind = audit.TokenRevoked
	if !found {
		c.Event.Reason = "unknown token"
	}
	return api.RevokeReply{Revoked: true}, nil
}

// end makes a token dead on every replica, if there is such a token, and, with
// an agent, if it is that agent's.
func (r *Registrations) end(ctx context.Context, c *Call, agent *tokenstore.Agent, value string) (found bool, err error) {
	if renewal, err := ath.ParseRenewalToken(value); err == nil {
		return r.endRenewal(ctx, c, agent, renewal)
	}
	token, err := ath.ParseToken(value)
	if err != nil {
		return false, nil //nolint:nilerr // no token of ours: there is nothing to end
	}
	for range 4 {
		held, err := r.store.Grant(ctx, token)
		if errors.Is(err, tokenstore.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		g := held.Value
		if agent != nil && (g.Agent != agent.ID || g.ClientID != agent.ClientID) {
			return false, ath.Errorf(ath.AgentIdentityMismatch, "The token belongs to another agent.")
		}
		c.Event.AgentID, c.Event.UserID, c.Event.ProviderID = g.Agent, g.User, g.Provider
		if agent == nil && g.Revoked.IsZero() {
			c.Event.Before = endedText(g.Connection, g.Scopes, "expires", g.Expires)
		}
		// Also one that is dead already: the store may have to wait until it is
		// dead for its replicas too.
		if err := r.store.Revoke(ctx, held, r.now().UTC()); errors.Is(err, tokenstore.ErrChanged) {
			continue
		} else if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return false, err
		}
		return true, nil
	}
	return false, errors.New("the grant was changed by others too often")
}

// endRenewal ends a standing consent, and the tokens that came of it, if there is
// such a one, and, with an agent, if it is that agent's (T-8).
func (r *Registrations) endRenewal(ctx context.Context, c *Call, agent *tokenstore.Agent, token ath.RenewalToken) (found bool, err error) {
	c.Event.Renewal = true
	held, err := r.store.Renewal(ctx, token)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v := held.Value
	if agent != nil && (v.Agent != agent.ID || v.ClientID != agent.ClientID) {
		return false, ath.Errorf(ath.AgentIdentityMismatch, "The token belongs to another agent.")
	}
	c.Event.AgentID, c.Event.UserID, c.Event.ProviderID = v.Agent, v.User, v.Provider
	if agent == nil && v.Revoked.IsZero() {
		c.Event.Before = endedText(v.Connection, v.Scopes, "until", v.Issued.Add(v.Terms.Max))
	}
	return true, r.store.EndRenewal(ctx, held, r.now().UTC())
}

// endedText is what an operator's event says of a token that was ended.
func endedText(connection ath.Tag, scopes ath.Scopes, until string, end time.Time) string {
	text, err := json.Marshal(map[string]any{
		"connection_id": ath.NewConnectionID(connection).String(), "scopes": named(scopes), until: end.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return "" // texts: cannot happen
	}
	return string(text)
}
