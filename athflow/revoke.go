package athflow

import (
	"context"
	"errors"

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
		if err := f.Authorize(ctx, c, httpapi.RevokeRole); err != nil {
			return api.RevokeReply{}, noProof(err)
		}
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

// noProof says to whoever is no operator what agents could bring.
func noProof(err error) error {
	if e := (*ath.Error)(nil); errors.As(err, &e) && e.Code == ath.Unauthorized {
		return ath.Errorf(ath.Unauthorized, "client_id and client_secret, or an admin token, are required.")
	}
	return err
}
