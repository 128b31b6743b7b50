package athflow

import (
	"context"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// revoke ends a token: the agent its own (V-1), an operator any (V-2). What
// was never a token is answered like one that was (V-3).
func (f *Flow) revoke(ctx context.Context, c *httpapi.Call, req *api.RevokeRequest) (api.RevokeReply, error) {
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
		if err := f.Proved(ath.AgentTag(agent.ID)); err != nil {
			return api.RevokeReply{}, err
		}
	} else {
		operator, ok := f.Operator(c.Header)
		if !ok {
			if err := f.Guessed(c.Header, c.From); err != nil {
				return api.RevokeReply{}, err
			}
			return api.RevokeReply{}, ath.Errorf(ath.Unauthorized, "client_id and client_secret, or an admin token, are required.")
		}
		c.Event.By = operator
	}
	return f.Registrations.Revoke(ctx, c, agent, req)
}

// revokeOwn is revoke where no operator is known.
func (f *Flow) revokeOwn(ctx context.Context, c *httpapi.Call, req *api.RevokeRequest) (api.RevokeReply, error) {
	if req.ClientID == "" {
		return api.RevokeReply{}, ath.Errorf(ath.Unauthorized, "client_id and client_secret are required.")
	}
	return f.revoke(ctx, c, req)
}
