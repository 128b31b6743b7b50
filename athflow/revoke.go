package athflow

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// revoke ends a token: the agent its own (V-1), an operator any (V-2). What
// was never a token is answered like one that was (V-3).
func (f *Flow) revoke(ctx context.Context, c *call, req *api.RevokeRequest) (api.RevokeReply, error) {
	var agent *tokenstore.Agent
	if req.ClientID != "" {
		if req.ClientSecret.IsZero() {
			return api.RevokeReply{}, ath.Errorf(ath.AgentNotRegistered, "client_secret is missing.").WithStatus(400)
		}
		var err error
		if agent, err = f.registration(ctx, c, req.ClientID); err != nil {
			return api.RevokeReply{}, err
		}
		if !agent.SecretDigest.Matches(req.ClientSecret.Reveal()) {
			return api.RevokeReply{}, wrongSecret()
		}
		if err := f.limiter.proved(ath.AgentTag(agent.ID), f.Now()); err != nil {
			return api.RevokeReply{}, err
		}
	} else {
		operator, ok := f.operator(c.header)
		if !ok {
			if err := f.guessed(c.header, c.from); err != nil {
				return api.RevokeReply{}, err
			}
			return api.RevokeReply{}, ath.Errorf(ath.Unauthorized, "client_id and client_secret, or an admin token, are required.")
		}
		c.event.By = operator
	}
	return f.revokeBy(ctx, c, agent, req)
}

// revokeOwn is revoke where no operator is known.
func (f *Flow) revokeOwn(ctx context.Context, c *call, req *api.RevokeRequest) (api.RevokeReply, error) {
	if req.ClientID == "" {
		return api.RevokeReply{}, ath.Errorf(ath.Unauthorized, "client_id and client_secret are required.")
	}
	return f.revoke(ctx, c, req)
}

// revokeAny is an operator's, where only operators ask.
func (f *Flow) revokeAny(ctx context.Context, c *call, req *api.RevokeRequest) (api.RevokeReply, error) {
	return f.revokeBy(ctx, c, nil, req)
}

// revokeBy ends a token for an agent, or, without one, for an operator.
func (f *Flow) revokeBy(ctx context.Context, c *call, agent *tokenstore.Agent, req *api.RevokeRequest) (api.RevokeReply, error) {
	if req.Token.IsZero() {
		return api.RevokeReply{}, ath.Errorf(ath.TokenInvalid, "token is missing.").WithStatus(400)
	}
	found, err := f.end(ctx, c, agent, req.Token.Reveal())
	if err != nil {
		return api.RevokeReply{}, err
	}
	c.event.Kind = audit.TokenRevoked
	if !found {
		c.event.Reason = "unknown token"
	}
	return api.RevokeReply{Revoked: true}, nil
}

// end makes a token dead on every replica, if there is such a token, and, with
// an agent, if it is that agent's.
func (f *Flow) end(ctx context.Context, c *call, agent *tokenstore.Agent, value string) (found bool, err error) {
	token, err := ath.ParseToken(value)
	if err != nil {
		return false, nil
	}
	for range 4 {
		held, err := f.Store.Grant(ctx, token)
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
		c.event.AgentID, c.event.UserID, c.event.ProviderID = g.Agent, g.User, g.Provider
		// Also one that is dead already: the store may have to wait until it is
		// dead for its replicas too.
		if err := f.Store.Revoke(ctx, held, f.Now().UTC()); errors.Is(err, tokenstore.ErrChanged) {
			continue
		} else if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return false, err
		}
		return true, nil
	}
	return false, errors.New("the grant was changed by others too often")
}

// operator returns the name of the admin token that a request carries (V-2,
// O-1). Every token is compared, in constant time.
func (f *Flow) operator(h http.Header) (name string, ok bool) {
	given := h.Values("X-ATH-User-Token")
	if len(given) == 0 {
		for _, v := range h.Values("Authorization") {
			if scheme, value, found := strings.Cut(v, " "); found && strings.EqualFold(scheme, "Bearer") {
				given = append(given, value)
			}
		}
	}
	if len(given) != 1 {
		return "", false
	}
	for _, t := range f.AdminTokens {
		if t.Digest.Matches(given[0]) {
			name, ok = t.Name, true
		}
	}
	return name, ok
}
