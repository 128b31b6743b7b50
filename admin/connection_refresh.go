package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// refreshConnection refreshes a user's token now, also one that lives, and one
// whose refresh the provider has refused within the last day. It is bounded in
// time; what has begun goes on.
func (s *API) refreshConnection(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.ConnectionRefreshReply, error) {
	info, err := s.Store.Connection(ctx, c.Connection.Tag())
	if errors.Is(err, tokenstore.ErrNotFound) {
		return api.ConnectionRefreshReply{}, noConnection()
	}
	if err != nil {
		return api.ConnectionRefreshReply{}, err
	}
	c.Event.Kind = audit.ConnectionRefreshAsked
	c.Event.AgentID, c.Event.UserID, c.Event.ProviderID, c.Event.Effective = info.Agent, info.User, info.Provider, nil
	if err := s.Commit(c); err != nil {
		return api.ConnectionRefreshReply{}, err
	}
	reply := api.ConnectionRefreshReply{ID: c.Connection.String(), Expires: instant(info.Expires)}
	p := s.Providers.Current().Lookup(info.Provider)
	if p == nil {
		reply.Outcome, reply.Said = api.RefreshNothing, "there is nothing to refresh by: the provider is not configured any more"
		return reply, nil
	}
	s.tell(&reply, &info, s.Refresh(ctx, p, info.Ref()))
	return reply, nil
}

// tell says in words what came of it.
func (s *API) tell(reply *api.ConnectionRefreshReply, info *tokenstore.ConnectionInfo, r vault.Report) {
	reply.Outcome = string(r.Outcome)
	reply.Again = int((r.Again + time.Second - 1) / time.Second)
	if !r.Connection.Created.IsZero() {
		reply.Expires = instant(r.Connection.Expires)
	}
	until, again := "", ""
	if reply.Expires != "" {
		until = "; it expires at " + reply.Expires
	}
	if reply.Again > 0 {
		again = fmt.Sprintf("; the next try is possible in %d s", reply.Again)
	}
	switch r.Outcome {
	case vault.Refreshed:
		reply.Said = "the provider gave a new token" + until
	case vault.Fresh:
		reply.Said = "the token came a moment ago, so the provider was not asked again" + until
	case vault.RefusedNow:
		reply.Upstream = r.Connection.RefreshStatus.RefusedFor
		reply.Said = "the provider refused the refresh token at " + instant(r.Connection.RefreshStatus.Refused) + ": " + reply.Upstream +
			"; unless it takes it again, the user must authorize again"
	case vault.AwayProvider:
		reply.Said = "the provider gave no token; the user's grant is kept" + again
	case vault.AwayStore:
		reply.Said = "Redis does not answer; a token that came back is written as soon as it does"
	case vault.UnderWay:
		reply.Said = "a call to the provider is under way, or its outcome is not known yet" + again
	case vault.Gone:
		reply.Said = "the connection has ended meanwhile"
	default:
		reply.Outcome = api.RefreshNothing
		reply.Said = "there is nothing to refresh by: " + s.whyNothing(info)
	}
}

// whyNothing is why the provider is not asked for a token at all.
func (s *API) whyNothing(info *tokenstore.ConnectionInfo) string {
	p := s.Providers.Current().Lookup(info.Provider)
	if state, wrong := s.stateOf(info, p, true); state == api.ConnectionMoved {
		return wrong
	}
	_, why := s.refreshOf(info, p)
	return why
}

func noConnection() error {
	return ath.Errorf(ath.NotFound, "There is no such connection: it has ended, or never was.")
}
